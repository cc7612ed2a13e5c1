# SPDX-License-Identifier: Apache-2.0
"""Ranges and voxels of other sensors: those said to fit run, the others are named."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.models.detectors.compress import compressed_detector
from lidistill.models.detectors.grid_fit import fit_network, grid_of, height_left
from lidistill.models.detectors.mmdet3d import (
    adapt_model,
    mmdet3d_detector,
    read_model_config,
    set_grid,
)
from tests.methods.small_detectors import SHIPPED
from tests.models.detectors.test_mmdet3d import CENTER, CENTER_PILLARS, PILLARS, SECOND

NARROW = {
    SECOND: dict(
        middle_encoder=dict(
            base_channels=4,
            output_channels=8,
            encoder_channels=((4,), (8, 8, 8), (8, 8, 8), (8, 8, 8)),
        ),
        backbone=dict(in_channels=16, out_channels=[8, 8], layer_nums=[1, 1]),
        neck=dict(in_channels=[8, 8], out_channels=[8, 8]),
        bbox_head=dict(in_channels=16, feat_channels=16),
    ),
    PILLARS: dict(
        voxel_encoder=dict(feat_channels=[8]),
        middle_encoder=dict(in_channels=8),
        backbone=dict(in_channels=8, out_channels=[8] * 3, layer_nums=[1] * 3),
        neck=dict(in_channels=[8] * 3, out_channels=[8] * 3),
        bbox_head=dict(in_channels=24, feat_channels=24),
    ),
    CENTER: dict(
        pts_middle_encoder=dict(
            base_channels=4,
            output_channels=8,
            encoder_channels=((4, 4, 8), (8, 8, 8), (8, 8, 8), (8, 8)),
        ),
        pts_backbone=dict(in_channels=16, out_channels=[8, 8], layer_nums=[1, 1]),
        pts_neck=dict(in_channels=[8, 8], out_channels=[8, 8]),
        pts_bbox_head=dict(in_channels=16, share_conv_channel=8),
    ),
    CENTER_PILLARS: dict(
        pts_voxel_encoder=dict(feat_channels=[8]),
        pts_middle_encoder=dict(in_channels=8),
        pts_backbone=dict(in_channels=8, out_channels=[8] * 3, layer_nums=[1] * 3),
        pts_neck=dict(in_channels=[8] * 3, out_channels=[8] * 3),
        pts_bbox_head=dict(in_channels=24, share_conv_channel=8),
    ),
}
FITTING = [
    (SECOND, (0, -12.8, -3, 25.6, 12.8, 1), (0.4, 0.4, 0.1)),
    (SECOND, (0, -20.48, -5, 40.96, 20.48, 3), (0.32, 0.32, 0.1)),  # twice the height
    (SECOND, (-9.6, -6.4, -2, 9.6, 6.4, 4), (0.2, 0.4, 0.1)),  # all around, 60 slices
    (PILLARS, (0, -20.48, -3, 40.96, 20.48, 1), (0.64, 0.32, 4)),
    (PILLARS, (-16, -16, -5, 16, 16, 3), (0.5, 0.5, 8)),
    (CENTER, (-12.8, -12.8, -5, 12.8, 12.8, 3), (0.2, 0.4, 0.2)),
    (CENTER, (-12.8, -12.8, -5, 12.8, 12.8, 11), (0.2, 0.2, 0.2)),
    (CENTER_PILLARS, (-16, -24, -2, 16, 24, 4), (0.5, 0.5, 6)),
]


def narrow(config, point_range, voxel_size, **factors):
    torch.manual_seed(0)
    builder = compressed_detector if factors else mmdet3d_detector
    return builder(config, point_range, voxel_size, NARROW[config], **factors).eval()


def bev_shape(detector, point_range, numbers: int) -> tuple[int, ...]:
    """Shape of what the head sees of points all over the range; the head runs on it as well."""
    low, high = torch.tensor(point_range[:3]), torch.tensor(point_range[3:])
    generator = torch.Generator().manual_seed(0)
    xyz = low + (high - low) * torch.rand(600, 3, generator=generator)
    points = torch.cat([xyz, torch.rand(600, numbers - 3, generator=generator)], 1)
    with torch.no_grad():
        data = detector.data_preprocessor({"inputs": {"points": [points]}, "data_samples": []})
        if hasattr(detector, "pts_bbox_head"):
            (bev,) = detector.extract_pts_feat(
                data["inputs"]["voxels"], points=None, img_feats=None, batch_input_metas=None
            )
            detector.pts_bbox_head((bev,))
        else:
            (bev,) = detector.extract_feat(data["inputs"])
            detector.bbox_head((bev,))
    return tuple(bev.shape[2:])


@pytest.mark.parametrize(("config", "point_range", "voxel_size"), FITTING)
@pytest.mark.parametrize("factors", [{}, dict(encoder=0.71, backbone=0.5, head=0.5)], ids=str)
def test_grids_that_fit_run_forward(config, point_range, voxel_size, factors):
    """Teacher, and compact student: its widths follow the height that is left."""
    cells = set_grid(read_model_config(config), point_range, voxel_size)
    detector = narrow(config, point_range, voxel_size, **factors)
    numbers = 5 if config in (CENTER, CENTER_PILLARS) else 4
    stride = {SECOND: 8, CENTER: 8, PILLARS: 2, CENTER_PILLARS: 4}[config]
    shape = bev_shape(detector, point_range, numbers)
    assert shape == (cells[1] // stride, cells[0] // stride)


def test_a_range_that_the_strides_do_not_divide_is_named():
    """129 cells are whole, but no multiple of 8: torch said "Expected size 65 but got 66"."""
    with pytest.raises(ValueError, match="stride of 8") as caught:
        narrow(PILLARS, (0, -20.48, -3, 41.28, 20.8, 1), (0.32, 0.32, 4.0))
    text = str(caught.value)
    assert "129 cells along x and 129 cells along y" in text
    offered = nearest(text)
    assert offered == [(0, -20.48, -3, 40.96, 20.48, 1), (0, -20.48, -3, 43.52, 23.04, 1)]
    for point_range in offered:
        set_grid(read_model_config(PILLARS), point_range, (0.32, 0.32, 4.0))


def nearest(text: str) -> list[tuple[float, ...]]:
    """The ranges that an error offers."""
    found = re.findall(r"\(((?:-?[\d.]+, ){5}-?[\d.]+)\)", text.split("point_range=")[1])
    return [tuple(map(float, ends.split(", "))) for ends in found]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(SECOND, 16, 40), (PILLARS, 8, 1), (CENTER, 16, 40), (CENTER_PILLARS, 8, 1)]),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.booleans(),
)
def test_whatever_is_offered_fits(kind, counts, symmetric):
    config, stride, height = kind
    model = MODELS[config]
    size = (0.25, 0.5, 0.1)
    low = [-count * s / 2 if symmetric else 0.0 for count, s in zip(counts, size, strict=False)]
    high = [a + count * s for a, count, s in zip(low, counts, size, strict=False)]
    point_range = (*low, -3.0, *high, -3.0 + height * size[2])
    grid = grid_of(point_range, size)
    assert grid.cells == (*counts, height)
    if all(count % stride == 0 for count in counts):
        fit_network(dict(model), grid)
        return
    with pytest.raises(ValueError, match=f"stride of {stride}") as caught:
        fit_network(dict(model), grid)
    offered = nearest(str(caught.value))
    for ends in offered:
        fit_network(dict(model), grid_of(ends, size))
        assert symmetric == (ends[0] == -ends[3])
        assert all(
            abs((b - a) / s - count) < stride
            for a, b, s, count in zip(ends[:2], ends[3:5], size, counts, strict=False)
        )


MODELS = {config: read_model_config(config) for config in NARROW}


def test_broken_voxels_name_axis_and_ranges():
    with pytest.raises(ValueError, match=r"3\.33333 along x; .*\(0, 0, 0, 0\.9, 1, 4\) or \(0, 0"):
        grid_of((0, 0, 0, 1, 1, 4), (0.3, 0.5, 4))


def test_heights():
    model = read_model_config(SECOND)
    with pytest.raises(ValueError, match=r"5 cells along z are too few.* at least 24 cells"):
        set_grid(model, (0, -20.48, -1, 40.96, 20.48, 0), (0.32, 0.32, 0.2))
    with pytest.raises(ValueError, match=r"one cell along z, got 2; .*height of the range, 8"):
        set_grid(read_model_config(CENTER_PILLARS), (-16, -16, -5, 16, 16, 3), (0.5, 0.5, 4))
    paddings = ((0, 0, 1), (0, 0, 1), (0, 0, [0, 1, 1]), (0, 0))  # more than there are stages
    stages = dict(encoder_channels=((16, 16, 32), (32, 32, 64), (64, 64)), block_type="basicblock")
    assert height_left(dict(stages, encoder_paddings=paddings), 40) == 5
    for cells, left in ((40, 2), (80, 4), (24, 1), (23, 0), (1, 0)):
        assert height_left(model["middle_encoder"], cells) == left
        assert height_left(read_model_config(CENTER)["pts_middle_encoder"], cells) == left


def test_numbers_that_follow_from_strides():
    """Neither width of the backbone nor factor of the head can be anything else."""
    box = (-25.6, -25.6, -5.0, 25.6, 25.6, 11.0)
    changes = dict(pts_backbone=dict(layer_strides=[2, 2]), pts_neck=dict(upsample_strides=[1, 2]))
    model = adapt_model(read_model_config(CENTER), box, (0.1, 0.1, 0.2), changes)
    assert model["pts_backbone"]["in_channels"] == 128 * 4
    for part in (model["train_cfg"]["pts"], model["test_cfg"]["pts"]):
        assert part["out_size_factor"] == 16
    assert model["pts_bbox_head"]["bbox_coder"]["out_size_factor"] == 16


def test_a_model_without_grid_takes_no_range():
    with pytest.raises(ValueError, match=r"PointRCNN names no range.*PointsRangeFilter"):
        set_grid(read_model_config(SHIPPED["pointrcnn"]), (0, -40, -3, 70, 40, 1), (1, 1, 1))
