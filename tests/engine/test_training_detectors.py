# SPDX-License-Identifier: Apache-2.0
"""A distilled detector in training: bfloat16, resume, two processes, what its checkpoint holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lidistill.engine.train import train
from lidistill.io import read_json, write_json
from tests.engine.test_distributed import check_exit, free_port, launch
from tests.engine.toy_detection import toy_method

CONFIG = Path(__file__).with_name("toy_detection_config.py")
METHODS = ("pointdistiller", "feature_kd")


def content_of(path: Path) -> dict:
    return torch.load(path, weights_only=False)


def forget_the_end(folder: Path) -> None:
    """Leave the folder as a kill after the first checkpoint would."""
    (folder / "iter_2.pth").unlink()
    write_json(folder / "run.json", {"config": read_json(folder / "run.json")["config"]})


def check_weights(state: dict[str, torch.Tensor], method: str) -> None:
    """Student and connectors, all of them, and nothing else: no teacher, no copy."""
    model = toy_method(method)
    parts = {"student": model.student, "connectors": model.connectors}
    expected = {f"{p}.{name}" for p, module in parts.items() for name in module.state_dict()}
    assert set(state) == expected
    count = sum(value.numel() for part in parts.values() for value in part.state_dict().values())
    assert sum(value.numel() for value in state.values()) == count


@pytest.mark.parametrize(("method", "amp"), [(METHODS[0], True), (METHODS[1], False)])
def test_a_run_that_continues_ends_with_the_same_weights(method, amp, tmp_path):
    options = {"model.method": method}
    final = train(CONFIG, tmp_path, amp=amp, options=options, quiet=True)
    content = content_of(final)
    check_weights(content["state_dict"], method)
    assert all(v.isfinite().all() for v in content["state_dict"].values())
    assert all(v.dtype != torch.bfloat16 for v in content["state_dict"].values())
    trained = len(list(toy_method(method).parameters()))
    assert 0 < len(content["optimizer"]["state"]) <= trained  # none of the teacher's
    forget_the_end(tmp_path)
    again = train(CONFIG, tmp_path, amp=amp, options=options, quiet=True)
    assert read_json(tmp_path / "run.json")["resumed_from"] == "iter_1.pth"
    for name, value in content_of(again)["state_dict"].items():
        assert torch.equal(value, content["state_dict"][name]), name


def test_a_few_bfloat16_losses_stay_near_float32():
    model = toy_method("pointdistiller").train()
    from tests.methods import small_detectors

    batch = small_detectors.batch()
    full = model(**batch, mode="loss")
    with torch.autocast("cpu", torch.bfloat16):
        half = model(**batch, mode="loss")
    for name in ("loss_cls", "loss_bbox", "loss_dir"):
        assert sum(half[name]).item() == pytest.approx(sum(full[name]).item(), rel=0.05)
    assert half["loss_pillars"].item() == pytest.approx(full["loss_pillars"].item(), rel=0.1)
    assert half["loss_pillars"].dtype == torch.float32


@pytest.mark.slow
def test_two_processes_agree_and_keep_student_and_connectors(tmp_path):
    launch("dist_train.sh", tmp_path, str(CONFIG), "2", PORT=free_port())
    first, second = (read_json(tmp_path / f"rank_{rank}.json") for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert (first["saved"], second["saved"]) == (2, 0)
    check_exit(tmp_path)
    state = content_of(tmp_path / "iter_2.pth")["state_dict"]
    check_weights(state, "pointdistiller")
    before = toy_method("pointdistiller").state_dict()
    moved = [name for name, value in before.items() if not torch.equal(value, state[name])]
    assert any(name.startswith("connectors.") for name in moved)
