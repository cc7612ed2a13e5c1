# SPDX-License-Identifier: Apache-2.0
"""The whole path of `make demo` on the smallest world: every step once, and what it must leave."""

from pathlib import Path

import pytest
import torch

from lidistill.cli import main
from lidistill.demo import STAGES, final_checkpoint
from lidistill.hooks.run_folder import read_run
from lidistill.io import read_json

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert main(arguments(folder)) == 0
    return folder


def arguments(folder: Path) -> list[str]:
    return ["demo", "--preset", "tiny", "--iters", "2", "--data", str(folder / "world"),
            "--work-dir", str(folder / "work")]  # fmt: skip


@pytest.mark.slow
def test_report_is_self_contained(demo):
    page = (demo / "work/report.html").read_text()
    assert "SLidR" in page
    assert "permuted regions" in page
    assert "lidistill superpixels" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


@pytest.mark.slow
def test_report_tells_how_it_was_made_and_how_long_that_took(demo):
    """The number of iterations was not said, and the trainings' time not counted."""
    results = read_json(demo / "work/report/results.json")
    assert results["commands"][-1].endswith("--seed 0 --iters 2")
    spent = {row["name"]: row["wall_s"] for row in results["rows"]}
    trained = {stage: read_run(demo / "work" / stage)["wall_s"] for stage in STAGES}
    assert spent["SLidR"] > trained["image_teacher"] + trained["pretrain"] > 0
    assert spent["permuted regions"] > trained["image_teacher"] + trained["permuted"]


@pytest.mark.slow
def test_stages_leave_students_only(demo):
    for stage in STAGES[1:]:
        state = torch.load(final_checkpoint(demo / "work" / stage), weights_only=False)[
            "state_dict"
        ]
        assert {key.split(".")[0] for key in state} == {"student", "connectors"}


@pytest.mark.slow
def test_pretraining_and_control_start_alike_and_part(demo):
    assert set(read_json(demo / "work/linear_probe.json")) == {
        "random weights", "SLidR", "permuted regions", "MLP on raw inputs",
    }  # fmt: skip


@pytest.mark.slow
def test_test_verb_probes_a_checkpoint(demo, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    checkpoint = final_checkpoint(demo / "work/pretrain")
    root = str(demo / "world/nuscenes")
    config = "configs/slidr/demo_pretrain.py"
    assert main(["test", config, str(checkpoint), "--data-root", root]) == 0
    result = read_json(checkpoint.parent / "linear_probe.json")
    assert result["linear_probe/mIoU"] == pytest.approx(
        read_json(demo / "work/linear_probe.json")["SLidR"], abs=1e-6
    )
