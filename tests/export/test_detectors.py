# SPDX-License-Identifier: Apache-2.0
"""Detectors for mmdet3d alone: built, loaded and, with compiled mmcv, run without lidistill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill import cli, compat
from lidistill.compat import spconv_choice
from lidistill.engine.configs.read import load_config
from lidistill.export.detectors import _test_data
from lidistill.export.exporting import export_student
from lidistill.models.detectors.compress import detector_config
from lidistill.registry import MODELS
from tests.ops import oracle

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("plain_mmdet3d.py")
NAMES = ("pointdistiller/pointpillars_world", "detection/second_world")


def config_of(name: str) -> Path:
    return ROOT / "configs" / f"{name}.py"


def trained(name: str, folder: Path) -> tuple[Path, torch.nn.Module]:
    """A checkpoint as training leaves it, with lively random weights, and the detector in it."""
    compat.apply()
    model = load_config(config_of(name)).model
    torch.manual_seed(1)
    detector = MODELS.build(model.get("student", model)).eval()
    for module in detector.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_var.uniform_(0.2, 0.8)
            module.running_mean.uniform_(-0.2, 0.2)
    before = "student." if "student" in model else ""
    state = {before + key: value for key, value in detector.state_dict().items()}
    if before:
        state["connectors.pillars_student.linear.weight"] = torch.zeros(2, 3)
    path = folder / "iter_9.pth"
    torch.save({"state_dict": state, "meta": {}, "optimizer": {"x": {"a": torch.ones(1)}}}, path)
    return path, detector


@pytest.fixture(scope="module", params=NAMES)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    path, detector = trained(request.param, folder)
    report = export_student(path, folder / "out.pth", "detector", config=config_of(request.param))
    rng = np.random.default_rng(0)
    points = rng.uniform((0, -15, -2, 0), (30, 15, 0, 1), (3000, 4)).astype(np.float32)
    columns = 5 if "centerpoint" in request.param else 4
    np.pad(points, ((0, 0), (0, columns - 4))).tofile(folder / "points.bin")
    return request.param, folder, detector, report, points


def alone(python: Path, folder: Path) -> dict[str, np.ndarray]:
    """Run the script in an interpreter, away from the repository."""
    files = [str(folder / name) for name in ("out.py", "out.pth", "points.bin", "result.npz")]
    command = [str(python), "-W", "ignore", str(SCRIPT), *files]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(folder / "result.npz"))


def predicted(model: torch.nn.Module, points: np.ndarray) -> dict[str, np.ndarray]:
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    sample = Det3DDataSample(
        metainfo={"box_type_3d": LiDARInstance3DBoxes, "box_mode_3d": 0, "lidar_path": "a"}
    )
    batch = {"inputs": {"points": [torch.from_numpy(points)]}, "data_samples": [sample]}
    with torch.no_grad():
        found = model.test_step(batch)[0].pred_instances_3d
    return {
        "boxes": found.bboxes_3d.tensor.numpy(),
        "scores": found.scores_3d.numpy(),
        "labels": found.labels_3d.numpy(),
    }


def test_report(exported):
    name, folder, detector, report, _ = exported
    counts = report.counts()
    assert counts["taken"] == len(detector.state_dict())
    assert (counts["reshaped"], counts["made"]) == (0, 0)
    assert counts["left"] == (2 if "pointdistiller" in name else 1)
    text = report.text()
    assert "init_model(" in text
    assert ("KeepPointsInImage" in text) == ("centerpoint" not in name)
    written = (folder / "out.py").read_text()
    assert "lidistill." not in written
    assert "LoadPointsFromFile" in written
    assert "LoadChecked" not in text + written


def test_sweeps_become_mmdet3ds_and_the_report_says_what_that_means():
    config = load_config(config_of("detection/centerpoint_voxel_nuscenes"))
    steps = config.test_dataloader.dataset.pipeline
    (step,) = [step for step in steps if getattr(step.type, "__name__", "") == "LoadCheckedSweeps"]
    step.compat = "mmdet3d"
    written, remarks = _test_data(config, "mine.py")
    (kept,) = [
        step
        for step in written["test_dataloader"]["dataset"]["pipeline"]
        if step["type"] == "LoadPointsFromMultiSweeps"
    ]
    assert not {"compat", "nonfinite"} & set(kept)
    assert any("issue 3054" in remark for remark in remarks)


def test_points_that_mmdet3d_would_not_leave_out_are_told():
    steps = [dict(type="LoadCheckedPoints", load_dim=4, use_dim=4, nonfinite="drop")]
    data = dict(type="KittiDataset", metainfo=dict(classes=["Car"]), pipeline=steps)
    for number, words in ((1, "points with NaN or infinity"), (0, "it has no evaluator")):
        _, remarks = _test_data(dict(test_dataloader=dict(dataset=data)), "config.py")
        assert remarks[-1].startswith(words), number
        steps[0]["nonfinite"] = "error"


def test_same_predictions_through_mmdet3ds_own_loading(exported):
    """In this process, where our stand-in answers for mmcv's ops."""
    from mmdet3d.apis import init_model

    _, folder, detector, _, points = exported
    model = init_model(str(folder / "out.py"), str(folder / "out.pth"), device="cpu")
    ours, theirs = predicted(detector, points), predicted(model, points)
    assert len(ours["boxes"]) > 5
    for key, value in ours.items():
        np.testing.assert_array_equal(theirs[key], value)


@pytest.mark.slow
def test_mmdet3d_alone_builds_and_loads_it(exported):
    name, folder, detector, _, _ = exported
    if "second" in name and spconv_choice.look().spconv == "":
        pytest.skip("mmdet3d alone builds sparse layers on spconv's own package")
    found = alone(Path(sys.executable), folder)
    assert found["tensors"] == len(detector.state_dict())
    assert found["classes"].tolist() == list(load_config(config_of(name)).classes)


@pytest.mark.slow
def test_compiled_mmcv_predicts_the_same(exported):
    """mmdet3d, compiled mmcv, and nothing of lidistill in the process."""
    _, folder, detector, _, points = exported
    found = alone(oracle.oracle_python(), folder)
    ours = predicted(detector, points)
    assert len(ours["boxes"]) > 5
    np.testing.assert_allclose(found["scores"], ours["scores"], atol=1e-4)
    assert np.mean(found["labels"] == ours["labels"]) > 0.99


def test_errors_say_what_to_give(tmp_path, capsys):
    path, _ = trained(NAMES[0], tmp_path)
    out, config = tmp_path / "out.pth", config_of(NAMES[0])
    (tmp_path / "bare.py").write_text("model = dict(type='SLidR')\n")
    for words, message in (
        ([], "--to detector --config CONFIG"),
        (["--config", config_of("detection/pointpillars_world")], "tensors matched by name"),
        (["--config", tmp_path / "none.py"], "no config at"),
        (["--config", config_of("slidr/demo_pretrain")], "names no classes"),
        (["--config", tmp_path / "bare.py"], "no test_dataloader"),
        (["--config", config, "--prefix", "a."], "drop --prefix"),
    ):
        command = ["export", path, out, "--to", "detector", *words]
        assert cli.main([str(word) for word in command]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    with pytest.raises(ValueError, match=r"name the output \.pth"):
        export_student(path, tmp_path / "a.safetensors", "detector", config=config)
    with pytest.raises(ValueError, match="expected a detector by mmdet3d_detector or compressed"):
        detector_config(dict(type="SLidR"))
    assert {each.name for each in tmp_path.iterdir()} == {"bare.py", "iter_9.pth"}
