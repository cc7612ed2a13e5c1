# SPDX-License-Identifier: Apache-2.0
"""Detectors distilled at the papers' sizes: each builds, dry-runs and trains two iterations.

Widths, voxels, grids, N and K are the papers'; the scans are a tiny world's, one a batch. All take
minutes of one core, so that only the smallest runs unless ``LIDISTILL_PAPER_SIZES=all`` (each kind
of detector trains at the world's size in ``test_distilled_detectors``).
"""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import pytest

from lidistill.converters.kitti.convert import convert_kitti
from lidistill.distill.calls import call_model
from lidistill.distill.weights import read_state_dict
from lidistill.engine.configs.read import load_config
from lidistill.engine.dry_run import dry_run
from lidistill.engine.synthetic import made_up
from lidistill.engine.train import train
from lidistill.hooks.run_folder import flat_values
from lidistill.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [
    path
    for name in ("pointdistiller", "feature_kd")
    for path in sorted((ROOT / "configs" / name).glob("*.py"))
    if re.search(r"_(kitti|nuscenes)_", path.stem)
]
QUICK = ("pointpillars_kitti_16x",)
STUDENTS = {  # million parameters: the paper's tables
    "pointpillars_kitti_4x": 1.3,
    "pointpillars_kitti_16x": 0.3,
    "second_kitti_4x": 1.4,
    "second_kitti_16x": 0.4,
    "pointrcnn_kitti_8x": 0.5,
    "pointrcnn_kitti_16x": 0.3,
}


FRAMES = {"nuscenes": 28_130, "semantickitti": 19_130, "kitti": 3712}


def each(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def teacher_options(path: Path) -> dict:
    """Teachers with random weights, batches of one scan, no worker processes."""
    model = load_config(path).model
    keys = ["model.teacher"] if "teacher" in model else []
    keys += [f"model.teachers.{name}" for name in model.get("teachers", {})]
    return {f"{key}.checkpoint": "random" for key in keys} | {
        "train_dataloader.batch_size": 1,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
    }


@each(
    [
        path
        for path in sorted((ROOT / "configs").glob("[!_]*/*.py"))
        if re.search(r"_(nuscenes|semantickitti|kitti)(_|$)", path.stem)
        and "world" not in path.stem
    ]
)
def test_whole_data_sets_are_seen_ten_times(path):
    """SparseKD's student had the thousand iterations of the base: a seventh of one epoch."""
    cfg = load_config(path)
    if "stages" in cfg:
        pytest.skip("its stages are configs of their own")
    frames = next(count for name, count in FRAMES.items() if f"_{name}" in path.stem)
    batch = cfg.train_dataloader.batch_size
    assert cfg.train_cfg.max_iters * batch >= 10 * frames


@each([*sorted(ROOT.glob("configs/detection/bev_*.py")), ROOT / "configs/monotakd/caddn_kitti.py"])
def test_image_networks_of_random_weights_learn_whole(path):
    """A stem of random weights was frozen, where the authors freeze ImageNet's."""
    camera = load_config(path).model.get("camera")
    if camera is None or "init_cfg" in camera.backbone:
        return
    assert camera.backbone.get("frozen_stages", -1) < 0
    assert camera.backbone.norm_eval is False


@pytest.mark.parametrize("name", ["second", "pointpillars"])
def test_detectors_alone_train_as_their_students_do(name):
    """The twin of a distilled detector differs in nothing but the distillation."""
    alone = load_config(ROOT / f"configs/detection/{name}_kitti.py")
    taught = load_config(ROOT / f"configs/pointdistiller/{name}_kitti_4x.py")
    assert alone.train_dataloader.batch_size == taught.train_dataloader.batch_size
    for key in ("optim_wrapper", "param_scheduler", "train_cfg"):
        assert flat_values(alone[key]) == flat_values(taught[key])


@each([path for path in CONFIGS if path.stem in STUDENTS])
def test_student_is_as_small_as_published(path):
    model = load_config(path).model
    student = MODELS.build(model.student)
    millions = sum(p.numel() for p in student.parameters()) / 1e6
    assert millions == pytest.approx(STUDENTS[path.stem], abs=0.1)


def test_the_papers_detectors_are_there():
    names = {path.stem for path in CONFIGS}
    wanted = {f"pointpillars_nuscenes_{times}" for times in ("2x", "4x")} | {*STUDENTS}
    wanted |= {f"centerpoint_{form}_nuscenes_4x" for form in ("voxel", "pillar")}
    assert wanted <= names


@pytest.mark.slow
@each(CONFIGS)
def test_dry_run_and_two_iterations(path, converted_world, tmp_path):
    if path.stem not in QUICK and os.environ.get("LIDISTILL_PAPER_SIZES") != "all":
        pytest.skip("minutes on one core; set LIDISTILL_PAPER_SIZES=all to run it")
    root = str(converted_world / ("kitti" if "kitti" in path.stem else "nuscenes"))
    options = teacher_options(path)
    text = dry_run(
        path,
        ["train_dataloader.batch_size=1"],
        data_root=root,
        random_teachers=True,
        repeats=1,
    )
    assert "up to its last tap" in text
    norms = re.findall(r"gradient norm: student ([\d.e+-]+)", text)
    assert norms
    assert all(float(norm) > 0 for norm in norms)
    final = train(path, tmp_path, data_root=root, options={"iters": 2, **options}, quiet=True)
    state = read_state_dict(final)
    assert {name.split(".")[0] for name in state} == {"student", "connectors"}
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert final.name == "iter_2.pth"


@pytest.mark.slow
def test_real_frames_train(realdata_dir, tmp_path):
    """Ten frames of KITTI, cut to the image as they come, where they are at hand."""
    root = tmp_path / "kitti"
    root.mkdir()
    for part in ("training", "testing"):
        (root / part).symlink_to(realdata_dir / "kitti" / part)
    convert_kitti(root, points="velodyne_reduced")
    path = ROOT / "configs/pointdistiller/pointpillars_kitti_4x.py"
    frames = "train_dataloader.dataset.dataset"
    options = teacher_options(path) | {
        "iters": 2,
        f"{frames}.ann_file": "kitti_infos_trainval.pkl",
        f"{frames}.data_prefix.pts": "training/velodyne_reduced",
    }
    final = train(path, tmp_path / "run", data_root=str(root), options=options, quiet=True)
    assert all(tensor.isfinite().all() for tensor in read_state_dict(final).values())


@pytest.mark.slow
@each(sorted((ROOT / "configs" / "detection").glob("bev_*_nuscenes.py")))
def test_bev_detectors_take_a_step_within_24_gib(path):
    """UniDistill's sizes: 0.075 m voxels, six images of 256 x 704, a 180 x 180 map; one sample."""
    if os.environ.get("LIDISTILL_PAPER_SIZES") != "all":
        pytest.skip("minutes on one core; set LIDISTILL_PAPER_SIZES=all to run it")
    cfg = load_config(path)
    model = MODELS.build(cfg.model).train()
    assert model.grid.shape == model.low_grid.shape == (180, 180)
    sum(call_model(model, one_sample(cfg, model), None, "loss", training=True).values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 < 24


def one_sample(cfg, model):
    batch = made_up(cfg, model, 30000)
    return {
        "inputs": {name: value[:1] for name, value in batch["inputs"].items()},
        "data_samples": batch["data_samples"][:1],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["caddn_kitti", "monotakd_kitti"])
def test_one_camera_of_kitti_takes_a_step(name):
    """MonoTAKD's sizes: 376 x 1248 pixels, 120 depths, 140 x 188 x 10 voxels; one sample."""
    if os.environ.get("LIDISTILL_PAPER_SIZES") != "all":
        pytest.skip("minutes on one core; set LIDISTILL_PAPER_SIZES=all to run it")
    cfg = load_config(ROOT / "configs" / "monotakd" / f"{name}.py")
    for teacher in cfg.model.get("teachers", {}).values():
        teacher["checkpoint"] = "random"
    model = MODELS.build(cfg.model).train()
    student = getattr(model, "student", model)
    assert student.grid.shape == student.low_grid.shape == (188, 140)
    one = one_sample(cfg, model)
    if name == "caddn_kitti":
        losses = call_model(model, one, None, "loss", training=True)
    else:
        losses = model(**model.data_preprocessor(one, True), mode="loss")
        assert {"loss_intra", "loss_cross", "loss_response"} <= losses.keys()
    values = [sum(v) if isinstance(v, list) else v for k, v in losses.items() if "loss" in k]
    sum(values).backward()
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)
