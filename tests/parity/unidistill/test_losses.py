# SPDX-License-Identifier: Apache-2.0
"""UniDistill's three losses, aligned and as released, against the authors' own functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.geometry.bev_cells import gaussian_cells
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.box_points import nine_points
from lidistill.losses.bev import EPS, absolute, gram_relation, max_class_response, surest
from lidistill.ops.points.map_read import PointReader, read_cells
from tests.conftest import parity_files

FORMATS = [torch.contiguous_format, torch.channels_last]


def grid_of(data) -> BEVGrid:
    x0, y0, _, x1, y1, _ = data["pc_range"].tolist()
    stride = int(data["out_size_factor"])
    cell = (float(data["voxel_size"][0]) * stride, float(data["voxel_size"][1]) * stride)
    return BEVGrid((x0, x1), (y0, y1), cell)


@pytest.mark.parametrize("memory", FORMATS, ids=["nchw", "channels_last"])
@pytest.mark.parametrize("form", ["aligned", "released"])
@pytest.mark.parametrize("path", parity_files("unidistill", "points_*.npz"))
def test_feature_and_relation(path, form, memory):
    data = np.load(path)
    grid = grid_of(data)
    kept = [b[v] for b, v in zip(data["gt_boxes"], data["gt_valid"], strict=True)]
    boxes = [torch.from_numpy(one) for one in kept]
    cells = [grid.cells_from_metres(nine_points(b)).flatten(0, 1) for b in boxes]
    for found, valid, expected in zip(cells, data["gt_valid"], data["points_cells"], strict=True):
        np.testing.assert_allclose(found.flip(1).view(-1, 9, 2), expected[valid], atol=1e-4)
    cells = [c.flip(1) for c in cells] if form == "released" else cells
    student = torch.from_numpy(data["student"]).to(memory_format=memory).requires_grad_()
    teacher = torch.from_numpy(data["teacher"]).to(memory_format=memory)
    read = PointReader(torch.cat(cells), [len(c) for c in cells], grid.shape)
    own, target = read(student), read(teacher)
    expected = data[f"student_points_{form}"][data["gt_valid"]].reshape(-1, own.shape[1])
    np.testing.assert_allclose(own.detach(), expected, atol=5e-5)
    losses = dict(
        feature=absolute(own, target, eps=9 * EPS), relation=gram_relation(own, target, points=9)
    )
    for name, loss in losses.items():
        expected = float(data[f"{name}_loss_{form}"])
        assert loss.item() == pytest.approx(expected, rel=1e-5, abs=2e-6)
        (gradient,) = torch.autograd.grad(loss, student, retain_graph=True)
        np.testing.assert_allclose(gradient, data[f"{name}_grad_{form}"], atol=1e-6)


def released_boxes(data) -> list[torch.Tensor]:
    """Rows until the first whose ten numbers add up to 0, as the release reads them."""
    found = []
    for rows in data["gt_boxes"]:
        end = np.flatnonzero(rows.sum(1) == 0)
        found.append(torch.from_numpy(rows[: end[0] if len(end) else len(rows)]))
    return found


@pytest.mark.parametrize("waits", [True, False], ids=["compact", "without_waiting"])
@pytest.mark.parametrize("path", parity_files("unidistill", "response_*.npz"))
def test_response(path, waits, monkeypatch):
    if not waits:
        monkeypatch.setattr("lidistill.geometry.bev_cells.WAITS_FOR_NOTHING", ())
    data = np.load(path)
    places = gaussian_cells(released_boxes(data), grid_of(data), compat=True)
    np.testing.assert_allclose(places.mask(), data["mask"], atol=1e-6)
    heat = torch.from_numpy(data["student_hm_prob"]).requires_grad_()
    boxes = torch.from_numpy(data["student_reg"]).requires_grad_()
    logits, target = (torch.from_numpy(data[n]) for n in ("teacher_hm_logit", "teacher_reg"))
    logits = read_cells(logits, places.index)
    own = read_cells(heat, places.index)
    loss_cls = absolute(
        own.amax(1, keepdim=True), surest(logits, 2.0)[:, None], places.weights, EPS
    )
    whole = max_class_response(own.logit(), logits, places.weights)
    assert whole.item() == pytest.approx(loss_cls.item(), rel=1e-5, abs=1e-7)
    loss_reg = absolute(
        read_cells(boxes, places.index), read_cells(target, places.index), places.weights, EPS
    )
    assert loss_cls.item() == pytest.approx(float(data["loss_cls"]), rel=1e-5, abs=2e-6)
    assert loss_reg.item() == pytest.approx(float(data["loss_reg"]), rel=1e-5, abs=2e-6)
    (gradient,) = torch.autograd.grad(loss_cls, heat)
    np.testing.assert_allclose(gradient, data["grad_loss_cls_wrt_student_hm"], atol=1e-6)
    (gradient,) = torch.autograd.grad(loss_reg, boxes)
    np.testing.assert_allclose(gradient, data["grad_loss_reg_wrt_student_reg"], atol=1e-6)
