# SPDX-License-Identifier: Apache-2.0
"""Replayed outputs against mmdet3d's own transforms and boxes, in any order of operations."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lidistill import compat, io
from lidistill.distill.caches.augmentation import Augmentation, without_augmentation
from lidistill.distill.caches.detections import ReplayCache, records_of
from lidistill.distill.outputs import FeatureMap, SparseVoxels
from lidistill.distill.taps import TapSet

compat.apply()
from mmdet3d.datasets.transforms import GlobalRotScaleTrans, RandomFlip3D  # noqa: E402
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes, LiDARPoints  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

SQUARE = (-8.0, -8.0, -2.0, 8.0, 8.0, 2.0)
SHAPE = (4, 16, 16)


def scene(rng, columns: int = 7) -> dict:
    boxes = rng.uniform(-5, 5, (6, columns))
    boxes[:, 3:6] = rng.uniform(0.5, 4, (6, 3))
    points = rng.uniform(-5, 5, (50, 4))
    return {
        "points": LiDARPoints(torch.tensor(points, dtype=torch.float32), points_dim=4),
        "gt_bboxes_3d": LiDARInstance3DBoxes(
            torch.tensor(boxes, dtype=torch.float32), box_dim=columns
        ),
        "gt_labels_3d": np.arange(6),
    }


def transforms(order: str) -> list:
    flip = RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5)
    turn = GlobalRotScaleTrans(
        rot_range=[-2, 2], scale_ratio_range=[0.8, 1.2], translation_std=[1, 2, 0.5]
    )
    return {"FG": [flip, turn], "GF": [turn, flip], "FGF": [flip, turn, flip]}[order]


@pytest.mark.parametrize("columns", [7, 9])
@pytest.mark.parametrize("order", ["FG", "GF", "FGF"])
def test_boxes_and_points_go_where_mmdet3d_puts_them(order, columns):
    rng = np.random.default_rng(0)
    seen = set()
    for seed in range(30):
        results = scene(rng, columns)
        before = copy.deepcopy(results)
        np.random.seed(seed)  # noqa: NPY002 -- theirs
        for transform in transforms(order):
            results = transform(results)
        seen.add(tuple(results["transformation_3d_flow"]))
        steps = Augmentation.of(results)
        boxes = steps.boxes(before["gt_bboxes_3d"].tensor)
        torch.testing.assert_close(boxes, results["gt_bboxes_3d"].tensor, rtol=1e-5, atol=1e-5)
        xyz = steps.points(before["points"].tensor[:, :3])
        torch.testing.assert_close(xyz, results["points"].tensor[:, :3], rtol=1e-5, atol=1e-5)
        assert len(steps.boxes(torch.zeros(0, columns))) == 0
    assert len(seen) >= 4  # every pair of mirrors


def _turn(angle: float) -> torch.Tensor:
    sin, cos = math.sin(angle), math.cos(angle)
    return torch.tensor([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


@pytest.mark.parametrize("flow", [["S", "T"], ["T", "S"], ["R", "HF", "T"], ["T", "VF", "R", "S"]])
def test_order_of_operations(flow):
    """Box methods called one after the other, in the recorded order."""
    boxes = scene(np.random.default_rng(1), 9)["gt_bboxes_3d"]
    record = {"pcd_scale_factor": 1.3, "pcd_trans": np.array([3.0, -1.0, 0.5])}
    angle = torch.tensor(0.7)
    record["pcd_rotation"] = _turn(0.7)
    expected = boxes.clone()
    for name in flow:
        {
            "HF": lambda: expected.flip("horizontal"), "VF": lambda: expected.flip("vertical"),
            "R": lambda: expected.rotate(angle), "S": lambda: expected.scale(1.3),
            "T": lambda: expected.translate(record["pcd_trans"]),
        }[name]()  # fmt: skip
    steps = Augmentation.of({**record, "transformation_3d_flow": flow})
    torch.testing.assert_close(steps.boxes(boxes.tensor), expected.tensor, rtol=1e-5, atol=1e-5)


def test_autocast_rounds_nothing_that_is_replayed():
    boxes = scene(np.random.default_rng(1), 9)["gt_bboxes_3d"].tensor
    steps = Augmentation.of({"transformation_3d_flow": ["R"], "pcd_rotation": _turn(0.7)})
    wanted = steps.boxes(boxes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(steps.boxes(boxes), wanted)


def turned(quarter: int) -> torch.Tensor:
    sin, cos = round(math.sin(quarter * math.pi / 2)), round(math.cos(quarter * math.pi / 2))
    return torch.tensor([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("flow", [["HF"], ["VF"], ["HF", "VF"], ["R"], ["VF", "R", "S", "T"]])
def test_voxels_of_replayed_points_are_the_replayed_voxels(flow):
    """A naive loop: voxelize the moved points."""
    rng = torch.Generator().manual_seed(0)
    record = {"pcd_rotation": turned(1), "pcd_scale_factor": 1.0, "pcd_trans": [2.0, -1.0, 0.0]}
    steps = Augmentation.of({**record, "transformation_3d_flow": flow})
    low, size = torch.tensor(SQUARE[:3]), torch.tensor([1.0, 1.0, 1.0])
    points = torch.rand(300, 3, generator=rng) * torch.tensor([16.0, 16.0, 4.0]) + low
    cells = ((points - low) / size).floor().long().flip(1)
    moved, inside = steps.voxels(cells, SHAPE, SQUARE)
    for point, cell, kept in zip(steps.points(points), moved, inside, strict=True):
        expected = ((point - low) / size).floor().long().flip(0)
        assert cell.tolist() == expected.tolist()
        assert bool(kept) == all(0 <= c < n for c, n in zip(expected.tolist(), SHAPE, strict=True))
    assert 0 < int(inside.sum()) <= 300


@pytest.mark.parametrize(
    ("record", "covered"),
    [
        ({"transformation_3d_flow": ["S"], "pcd_scale_factor": 1.001}, SQUARE),
        ({"transformation_3d_flow": ["T"], "pcd_trans": [0.3, 0, 0]}, SQUARE),
        ({"transformation_3d_flow": ["R"], "pcd_rotation": turned(1)}, (0, -8, -2, 8, 8, 2)),
        ({"transformation_3d_flow": ["HF"]}, (-8, -7.7, -2, 8, 8.3, 2)),
    ],
)
def test_voxels_that_do_not_fall_onto_voxels(record, covered):
    with pytest.raises(ValueError, match=r"do not fall onto voxels.*cache boxes or points"):
        Augmentation.of(record).voxels(torch.zeros(1, 3).long(), SHAPE, covered)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"transformation_3d_flow": ["R", "S", "T", "R"]}, "several times"),
        ({"transformation_3d_flow": ["X"]}, "not known"),
        ({"transformation_3d_flow": ["R"]}, "without record"),
    ],
)
def test_what_was_not_recorded_is_an_error(record, message):
    full = {"pcd_scale_factor": 1.0, "pcd_trans": [0, 0, 0], **record}
    with pytest.raises(ValueError, match=message):
        Augmentation.of(full)


def test_steps_without_a_record_are_refused():
    steps = [{"type": name} for name in ("LoadPointsFromFile", "RandomFlip3D", "Pack3DDetInputs")]
    assert [s["type"] for s in without_augmentation(steps)] == [
        "LoadPointsFromFile", "Pack3DDetInputs"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="ObjectSample may change a sample"):
        without_augmentation([*steps, {"type": "mmdet3d.datasets.ObjectSample"}])


class Detector(torch.nn.Module):
    """Stands for a teacher: a voxel layer's range, a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.points = torch.nn.Linear(1, 1), torch.nn.Identity()
        layer = SimpleNamespace(point_cloud_range=SQUARE, grid_shape=SHAPE[::-1])
        self.data_preprocessor = SimpleNamespace(voxel_layer=layer)
        self.head = torch.nn.Identity()
        self.head.test_cfg, self.head.train_cfg = {"score_thr": 0.1, "nms": [0.2]}, {"weight": 1}
        self.head.bbox_coder = SimpleNamespace(max_num=500, pc_range=torch.tensor([0.0, 1.0]))


def teacher_of(taps: dict) -> SimpleNamespace:
    model = Detector()
    return SimpleNamespace(model=model, taps=TapSet(model, taps), autocast=None)


def sample_of(token: str, **record) -> Det3DDataSample:
    meta = {"lidar_path": f"a/b/{token}.bin", "box_type_3d": LiDARInstance3DBoxes, **record}
    return Det3DDataSample(metainfo=meta)


def batch_of(*samples) -> dict:
    return {"inputs": {"points": [torch.zeros(1, 4)] * len(samples)}, "data_samples": samples}


def outputs_of(teacher) -> SimpleNamespace:
    """Boxes, voxels and points of two samples; the second has neither box nor voxel."""
    found = []
    for token, count in (("0", 5), ("1", 0)):
        boxes = torch.rand(count, 7) * 50 + 0.001
        sample = sample_of(token)
        sample.pred_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(boxes),
            scores_3d=torch.rand(count),
            labels_3d=torch.arange(count),
        )
        found.append(sample)
    coords = torch.tensor([[0, 0, 1, 2], [0, 3, 15, 7]]).int()
    voxels = SparseVoxels(torch.rand(2, 3), coords, SHAPE, 1, torch.tensor([4, 9]))
    points = {"fp_xyz": torch.rand(2, 10, 3), "fp_features": torch.rand(2, 5, 10)}
    values = {"boxes": found, "voxels": voxels, "points": points}
    return SimpleNamespace(**{name: values[name] for name in teacher.taps.taps})


def test_cache_gives_back_what_was_kept_where_the_sample_went(tmp_path):
    torch.manual_seed(0)
    teacher = teacher_of({"boxes": "", "voxels": "encoder", "points": "points"})
    live, plain = outputs_of(teacher), batch_of(sample_of("0"), sample_of("1"))
    assert ReplayCache(tmp_path / "c").keep(teacher, plain, live)
    cache = ReplayCache(tmp_path / "c")
    same = cache.outputs(teacher, plain)
    for ours, theirs in zip(same.boxes, live.boxes, strict=True):
        for name in ("scores_3d", "labels_3d"):
            assert torch.equal(ours.pred_instances_3d[name], theirs.pred_instances_3d[name])
        kept = ours.pred_instances_3d.bboxes_3d.tensor
        assert torch.equal(kept, theirs.pred_instances_3d.bboxes_3d.tensor)
    assert torch.equal(same.voxels.coords, live.voxels.coords)
    assert same.voxels.counts.tolist() == [4, 9]
    assert (same.voxels.batch_size, same.voxels.spatial_shape) == (2, SHAPE)
    torch.testing.assert_close(same.voxels.features, live.voxels.features, rtol=0, atol=1e-3)
    assert torch.equal(same.points["fp_xyz"], live.points["fp_xyz"])

    record = {"transformation_3d_flow": ["HF"]}
    moved = cache.outputs(teacher, batch_of(sample_of("1"), sample_of("0", **record)))
    expected = live.boxes[0].pred_instances_3d.bboxes_3d.clone()
    expected.flip("horizontal")
    assert torch.equal(moved.boxes[1].pred_instances_3d.bboxes_3d.tensor, expected.tensor)
    assert moved.voxels.coords.tolist() == [[1, 0, 14, 2], [1, 3, 0, 7]]
    mirrored = live.points["fp_xyz"][0] * torch.tensor([1.0, -1.0, 1.0])
    assert torch.equal(moved.points["fp_xyz"][1], mirrored)


def test_what_cannot_be_cached(tmp_path):
    teacher = teacher_of({"boxes": ""})
    cache = ReplayCache(tmp_path / "c")
    with pytest.raises(io.DataError, match="No teacher cache"):
        cache.outputs(teacher, batch_of(sample_of("0")))
    live = outputs_of(teacher)
    turned_sample = sample_of("0", transformation_3d_flow=["HF"])
    with pytest.raises(ValueError, match="as they are in the file"):
        cache.keep(teacher, batch_of(turned_sample, sample_of("1")), live)
    cache.keep(teacher, batch_of(sample_of("0"), sample_of("1")), live)
    with pytest.raises(io.DataError, match="1 samples of this batch are not"):
        cache.outputs(teacher, batch_of(sample_of("0"), sample_of("7")))
    with pytest.raises(ValueError, match="needs lidar_path"):
        cache.outputs(teacher, batch_of(Det3DDataSample()))
    torch.nn.init.constant_(teacher.model.encoder.weight, 3.0)
    with pytest.raises(io.DataError, match="another teacher"):
        ReplayCache(tmp_path / "c").outputs(teacher, batch_of(sample_of("0")))
    teacher.follows_student = True
    with pytest.raises(ValueError, match="follows the student"):
        cache.outputs(teacher, batch_of(sample_of("0")))
    with pytest.raises(ValueError, match=r"a map, which no augmentation.*tap ''"):
        records_of(FeatureMap(torch.zeros(1, 2, 3, 3)), "neck", 1)
    strided = SparseVoxels(torch.zeros(1, 2), torch.zeros(1, 4).int(), (2, 8, 8), 1)
    with pytest.raises(ValueError, match=r"\[2, 8, 8\].*\[4, 16, 16\].*before the first stride"):
        records_of(strided, "conv2", 1, SHAPE)


def test_a_threshold_of_the_teacher_is_another_cache(tmp_path):
    """No layer and no weight shows it, and the boxes are others."""
    teacher, plain = teacher_of({"boxes": ""}), batch_of(sample_of("0"), sample_of("1"))
    ReplayCache(tmp_path).keep(teacher, plain, outputs_of(teacher))
    head = teacher.model.head
    head.train_cfg["weight"] = 2  # of no matter to a frozen teacher
    ReplayCache(tmp_path).outputs(teacher, plain)
    for owner, name, value in (
        (head.test_cfg, "score_thr", 0.3),
        (head.test_cfg, "nms", [0.1]),
        (vars(head.bbox_coder), "max_num", 83),
        (vars(head.bbox_coder), "pc_range", torch.tensor([0.0, 2.0])),
    ):
        before, owner[name] = owner[name], value
        with pytest.raises(io.DataError, match=r"another teacher.*settings"):
            ReplayCache(tmp_path).outputs(teacher, plain)
        owner[name] = before
    ReplayCache(tmp_path).outputs(teacher, plain)


def test_scans_of_two_drives_with_one_file_name_are_two(tmp_path):
    teacher = teacher_of({"boxes": ""})
    cache, live = ReplayCache(tmp_path), outputs_of(teacher)
    names = ("drive_1/lidar/000000", "drive_2/lidar/000000")
    cache.keep(teacher, batch_of(*map(sample_of, names)), live)
    found = cache.outputs(teacher, batch_of(*map(sample_of, names))).boxes
    assert [len(one.pred_instances_3d) for one in found] == [5, 0]
    elsewhere = sample_of(names[0], lidar_path=f"/another/root/b/{names[0]}.bin")
    assert len(cache.outputs(teacher, batch_of(elsewhere)).boxes[0].pred_instances_3d) == 5
    with pytest.raises(io.DataError, match="1 samples of this batch are not"):
        cache.outputs(teacher, batch_of(sample_of("drive_3/lidar/000000")))
