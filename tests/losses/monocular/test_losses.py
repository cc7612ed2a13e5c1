# SPDX-License-Identifier: Apache-2.0
"""Monocular losses beside naive loops; gradients, empty batches, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidistill.losses.monocular import anchor_response as response
from lidistill.losses.monocular import bev_residual as bev
from lidistill.losses.monocular.depth_focal import box_cells, depth_focal


def maps(seed, shape=(2, 3, 4, 5)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_squared_gap_counts_empty_cells_less():
    student, target = maps(0).requires_grad_(), maps(1)
    target[:, :, :2] = 0
    weights = bev.filled_weights(target)
    total = weight_sum = 0.0
    for b, y, x in np.ndindex(2, 4, 5):
        weight = 1.0 if target[b, :, y, x].sum() != 0 else 0.05
        gap = (student[b, :, y, x] - target[b, :, y, x]).square().mean().item()
        total, weight_sum = total + weight * gap, weight_sum + weight
    loss = bev.squared_gap(student, target, weights)
    assert loss.item() == pytest.approx(total / weight_sum)
    loss.backward()
    assert student.grad.abs().sum() > 0


def test_min_max_has_a_gradient_and_survives_constants():
    assert torch.autograd.gradcheck(bev.min_max, (maps(2).requires_grad_(),))
    assert (bev.min_max(torch.ones(2, 3)) == 0).all()


def test_residuals():
    teacher, assistant = maps(3).requires_grad_(), maps(4).requires_grad_()
    signed = bev.residual(teacher, assistant)
    assert not signed.requires_grad
    torch.testing.assert_close(signed, (teacher - assistant).detach())
    key = bev.key_residual(teacher, assistant, share=0.5)
    top = (teacher - assistant).abs().max()
    assert ((key == 0) | (key >= 0.5 * top)).all()
    assert 0 < (key > 0).sum() < key.numel()
    # student + residual is the teacher: what the paper's sum of branches aims at
    torch.testing.assert_close(assistant + signed, teacher)


def test_teachers_take_no_gradient():
    for loss in (bev.squared_gap, bev.summed_channels):
        student, target = (maps(k).abs().add(1).requires_grad_() for k in (5, 6))
        loss(student, target).backward()
        assert student.grad.abs().sum() > 0
        assert target.grad is None


@pytest.mark.parametrize("loss", [bev.squared_gap, bev.residual, bev.summed_channels])
def test_maps_of_other_shapes(loss):
    with pytest.raises(ValueError, match="maps of one shape"):
        loss(maps(0), maps(0, (2, 3, 4, 6)))


def test_an_empty_batch_is_zero_with_gradient():
    student = torch.zeros(0, 3, 4, 5, requires_grad=True)
    loss = bev.squared_gap(student, student.detach())
    loss.backward()
    assert loss.item() == 0


def test_soft_focal_is_a_loop_over_anchors():
    student, teacher = maps(0, (2, 6, 3)), 2 * maps(1, (2, 6, 3))
    p, q = teacher.sigmoid(), student.sigmoid()
    total = 0.0
    for b, k in np.ndindex(2, 3):
        count = max(1, int((p[b, :, k] > 0.1).sum()))
        for a in range(6):
            wanted, own = p[b, a, k].item(), q[b, a, k].item()
            entropy = -wanted * math.log(own) - (1 - wanted) * math.log(1 - own)
            total += entropy * (own - wanted) ** 2 / count
    assert response.soft_focal(student, teacher).item() == pytest.approx(total)


def test_boxes_that_differ_by_whole_turns_are_the_same():
    teacher = maps(2, (2, 6, 7))
    student = teacher.clone()
    student[..., response.HEADING] += 2 * math.pi
    weights = response.anchor_weights(maps(3, (2, 6, 3)))
    assert response.soft_boxes(student, teacher, weights).item() == pytest.approx(0, abs=1e-20)
    student[..., 0] += 1
    wanted = (weights.sum() * (1 - 1 / 18)).item() / 2
    assert response.soft_boxes(student, teacher, weights).item() == pytest.approx(wanted)


def test_no_anchor_is_meant():
    """All terms are zero with gradient where the teacher means nothing, and for no samples."""
    for count in (2, 0):
        teacher = torch.full((count, 4, 3), -20.0)
        weights = response.anchor_weights(teacher)
        assert weights.sum() == 0
        student = torch.zeros(count, 4, 7, requires_grad=True)
        loss = response.soft_boxes(student, torch.ones(count, 4, 7), weights)
        loss = loss + response.soft_directions(student[..., :2], teacher[..., :2], weights)
        loss = loss + 0 * response.soft_focal(student[..., :3], teacher)
        loss.backward()
        assert loss.item() == 0
        assert student.grad is not None
    with pytest.raises(ValueError, match="the heads must have the same anchors"):
        response.soft_focal(torch.zeros(1, 2, 3), torch.zeros(1, 4, 3))


def test_depth_focal_is_a_loop_over_cells():
    logits = maps(0, (2, 5, 3, 4)).requires_grad_()
    target = torch.randint(0, 5, (2, 3, 4), generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[[8.0, 0, 17, 9], [0, 0, 0, 0]], [[0.0, 0, 0, 0], [0, 0, 0, 0]]])
    foreground = box_cells(boxes, 8, (3, 4))
    assert foreground.sum() == 4  # columns 1 and 2, rows 0 and 1
    total = 0.0
    for b, i, j in np.ndindex(2, 3, 4):
        p = logits[b, :, i, j].softmax(0)[target[b, i, j]].item()
        weight = 13 if foreground[b, i, j] else 1
        total += weight * -0.25 * (1 - p) ** 2 * math.log(p)
    loss = depth_focal(logits, target, foreground)
    assert loss.item() == pytest.approx(total / 24, rel=1e-5)  # logits are taken in float32
    loss.backward()
    assert logits.grad.abs().sum() > 0


def test_depth_focal_without_cells_and_with_other_shapes():
    logits = torch.zeros(0, 5, 3, 4, requires_grad=True)
    depth_focal(logits, torch.zeros(0, 3, 4, dtype=torch.long)).backward()
    with pytest.raises(ValueError, match="pooled_depth"):
        depth_focal(torch.zeros(1, 5, 3, 4), torch.zeros(1, 6, 8, dtype=torch.long))


def test_boxes_without_an_angle():
    torch.manual_seed(0)
    student, teacher, weights = torch.randn(2, 5, 8), torch.randn(2, 5, 8), torch.rand(2, 5)
    gap = (student - teacher).abs()
    smooth = torch.where(gap < 1 / 9, 4.5 * gap**2, gap - 1 / 18)
    expected = (smooth * weights[..., None]).sum() / 2
    torch.testing.assert_close(
        response.soft_boxes(student, teacher, weights, heading=None), expected
    )
    assert not torch.isclose(response.soft_boxes(student, teacher, weights), expected)
