# SPDX-License-Identifier: Apache-2.0
"""CenterPoint's targets, equal to the bit to those of mmdet3d's loop over boxes."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill import compat

compat.apply()
pytest.importorskip("mmdet3d")
from mmdet3d.models.dense_heads import CenterHead  # noqa: E402
from mmdet3d.structures import LiDARInstance3DBoxes  # noqa: E402

OURS = CenterHead.get_targets_single
THEIRS = OURS.__wrapped__
TASKS = [["car"], ["truck", "bus"], ["pedestrian", "bicycle", "cone"]]
CFG = dict(
    max_objs=20,
    dense_reg=1,
    grid_size=[128, 96, 1],  # a map of 32 x 24 cells
    point_cloud_range=[-12.8, -9.6, -5.0, 12.8, 9.6, 3.0],
    voxel_size=[0.2, 0.2, 8.0],
    out_size_factor=4,
    gaussian_overlap=0.1,
    min_radius=2,
)


def head(norm_bbox: bool = True, **changes: Any) -> Any:
    cfg = {**CFG, **changes}
    return SimpleNamespace(class_names=TASKS, task_heads=TASKS, norm_bbox=norm_bbox, train_cfg=cfg)


def sample(boxes: torch.Tensor, labels: torch.Tensor) -> Any:
    """What mmdet3d's heads are given."""
    boxes = LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1])
    return SimpleNamespace(bboxes_3d=boxes, labels_3d=labels)


def scene(seed: int, count: int) -> Any:
    """Boxes in and out of the range, one without a side, one longer than the map."""
    made = torch.Generator().manual_seed(seed)
    spread = torch.tensor([9.0, 7.0, 1.0, 2.0, 2.0, 1.0, 2.0, 3.0, 3.0])
    boxes = torch.randn(count, 9, generator=made) * spread
    boxes[:, 3:6] = boxes[:, 3:6].abs()
    if count > 3:
        boxes[1, 3], boxes[2, 4], boxes[3, 0] = 0.0, 60.0, -12.9  # cut towards zero: inside
    return sample(boxes, torch.randint(-1, 7, (count,), generator=made))


def assert_equal(ours: Any, theirs: Any) -> None:
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert len(one) == len(other) == len(TASKS)
        for a, b in zip(one, other, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert torch.equal(a, b)


@pytest.mark.parametrize("count", [0, 1, 4, 30, 90])
@pytest.mark.parametrize("seed", range(4))
def test_random_scenes(seed, count):
    """90 boxes are more than a task has slots for."""
    net, boxes = head(norm_bbox=seed % 2 == 0), scene(seed, count)
    assert_equal(OURS(net, boxes), THEIRS(net, boxes))


@given(
    x=st.floats(-15, 15, width=32),
    y=st.floats(-12, 12, width=32),
    sizes=st.tuples(*[st.floats(0, 40, width=32)] * 3),
    yaw=st.floats(-7, 7, width=32),
    label=st.integers(0, 5),
    overlap=st.sampled_from([0.1, 0.5, 0.7]),
)
@settings(max_examples=200, deadline=None)
def test_any_box(x, y, sizes, yaw, label, overlap):
    boxes = torch.tensor([[x, y, 0.0, *sizes, yaw, 1.0, -1.0], [0, 0, 0, 4, 2, 1, 0, 0, 0.0]])
    net, one = head(gaussian_overlap=overlap), sample(boxes, torch.tensor([label, label]))
    assert_equal(OURS(net, one), THEIRS(net, one))


def test_double_precision():
    one = scene(0, 30)
    one.bboxes_3d.tensor = one.bboxes_3d.tensor.double()
    assert_equal(OURS(head(), one), THEIRS(head(), one))


@pytest.mark.parametrize("columns", [7, 9])
def test_what_cannot_be_is_mmdet3ds_own_error(columns):
    """Boxes without velocities, and infinite ones."""
    boxes = torch.ones(1, columns)
    boxes[0, 0] = 0.0
    if columns == 9:
        boxes[0, 3:5] = torch.inf
    one = sample(boxes, torch.tensor([0]))
    with pytest.raises(Exception) as theirs:
        THEIRS(head(), one)
    with pytest.raises(theirs.type, match=str(theirs.value)[:12]):
        OURS(head(), one)


def test_mmdet3d_still_makes_them_one_by_one():
    """When this fails, the bridge has lost its reason."""
    assert "for k in range(num_objs):" in inspect.getsource(THEIRS)
