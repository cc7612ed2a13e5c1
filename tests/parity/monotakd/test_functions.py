# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD's and CMKD's pure functions against the authors' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.geometry.depth_scale import DepthScale, pooled_depth
from lidistill.losses.monocular.anchor_response import (
    anchor_weights,
    soft_boxes,
    soft_directions,
    soft_focal,
)
from lidistill.losses.monocular.bev_residual import (
    filled_weights,
    key_residual,
    min_max,
    residual,
    squared_gap,
    summed_channels,
)
from lidistill.losses.monocular.depth_focal import box_cells, depth_focal
from tests.conftest import parity_files


def close(found, expected, rtol=1e-4, atol=1e-5):
    found = found.detach().numpy() if torch.is_tensor(found) else found
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("path", parity_files("monotakd", "depth_bins*.npz"))
def test_depth_bins(path):
    data = np.load(path)
    depth = torch.from_numpy(data["depth"])
    compared = 0
    for key in data:
        if not key.startswith("cont_"):
            continue
        _, mode, count = key.split("_")
        scale = DepthScale(mode, count=int(count))
        close(scale.position(depth), data[key], rtol=1e-4, atol=1e-4)
        gap = np.abs(scale.target(depth).numpy() - data[f"target_{mode}_{count}"])
        position = data[key]
        edge = np.abs(position - np.round(position)) < 1e-4
        assert (gap[~edge] == 0).all()
        assert ((gap[edge] <= 1) | (np.abs(position[edge]) < 1e-4)).all()  # 0 or out of range
        compared += 1
    assert compared >= 4
    close(DepthScale().edges().float(), data["lid_edge_depth"], atol=1e-5)


@pytest.mark.parametrize("path", parity_files("monotakd", "depth_pool*.npz"))
def test_depth_pooling(path):
    data = np.load(path)
    pooled = pooled_depth(torch.from_numpy(data["depth_map"]), 8)
    close(pooled, data["pooled"])
    target = DepthScale().target(pooled)
    np.testing.assert_array_equal(target, data["target_bin"])
    chosen = torch.nn.functional.one_hot(target, 121).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(chosen, data["onehot_u8"])


@pytest.mark.parametrize("path", parity_files("monotakd", "feature_losses*.npz"))
def test_feature_losses(path):
    data = np.load(path)
    names = ("bev_teacher", "bev_ta", "bev_student_vis", "bev_student_spa")
    teacher, assistant, vis, spa = (torch.from_numpy(data[name]) for name in names)
    vis.requires_grad_()
    spa.requires_grad_()

    def check(loss, value, student, gradient, factor=1.0):
        loss = factor * loss
        assert loss.item() == pytest.approx(float(data[value]), rel=1e-4)
        if gradient:
            close(torch.autograd.grad(loss, student)[0], data[gradient], rtol=1e-3, atol=1e-6)

    stretched, own = min_max(assistant), min_max(vis)
    close(stretched, data["ta_normalised"])
    close(own, data["student_vis_normalised"])
    key = key_residual(teacher, stretched)
    close(key, data["residual_released"])
    check(squared_gap(own.detach(), stretched), "released_imd", None, None)
    check(squared_gap(spa, key), "released_cmrd", spa, None)
    released = squared_gap(own.detach(), stretched) + 0.2 * squared_gap(spa, key)
    check(released, "released_loss", spa, "released_grad_student_spa")
    weights = filled_weights(stretched)
    released = squared_gap(own.detach(), stretched, weights)
    released = released + 0.2 * squared_gap(spa, key, weights)
    check(released, "released_loss_nonzero", spa, "released_grad_student_spa_nonzero")
    check(squared_gap(vis, assistant), "paper_imd", vis, "paper_grad_imd")
    signed = residual(teacher, assistant)
    close(signed, data["residual_signed"])
    check(squared_gap(spa, signed), "paper_cmrd_signed", spa, "paper_grad_cmrd_signed")
    check(squared_gap(min_max(vis), stretched), "imd_minmax_with_grad", vis, "grad_imd_minmax")
    check(squared_gap(vis, teacher), "cmkd_L2", vis, "cmkd_L2_grad", 32)
    weights = filled_weights(teacher)
    check(squared_gap(vis, teacher, weights), "cmkd_L2_nonzero", vis, "cmkd_L2_nonzero_grad", 32)
    check(summed_channels(vis, teacher), "cmkd_SUM", vis, "cmkd_SUM_grad", 32)


@pytest.mark.parametrize("path", parity_files("monotakd", "response_losses*.npz"))
def test_response_losses(path):
    data = np.load(path)
    heads = {
        (who, part): torch.from_numpy(data[f"{who}_{part}"]).reshape(
            len(data["student_cls"]), -1, n
        )
        for who in ("student", "teacher")
        for part, n in (("cls", 3), ("box", 7), ("dir", 2))
    }
    for part in ("cls", "box", "dir"):
        heads["student", part].requires_grad_()
    pair = {
        part: (heads["student", part], heads["teacher", part]) for part in ("cls", "box", "dir")
    }
    weights = anchor_weights(heads["teacher", "cls"])
    losses = {
        "cls": (2.0 * soft_focal(*pair["cls"]), "loss_cls"),
        "box": (2.0 * soft_boxes(*pair["box"], weights), "loss_loc"),
        "dir": (0.4 * soft_directions(*pair["dir"], weights), "loss_dir"),
    }
    for part, (loss, name) in losses.items():
        assert loss.item() == pytest.approx(float(data[name]), rel=1e-4)
        (gradient,) = torch.autograd.grad(loss, heads["student", part])
        close(gradient.reshape(data[f"grad_{part}"].shape), data[f"grad_{part}"], rtol=1e-3)
    total = losses["box"][0] + losses["dir"][0]
    assert total.item() == pytest.approx(float(data["loss_box_total"]), rel=1e-4)


@pytest.mark.parametrize("path", parity_files("monotakd", "ddn_loss*.npz"))
def test_depth_loss(path):
    data = np.load(path)
    logits = torch.from_numpy(data["depth_logits_f32"]).requires_grad_()
    target = DepthScale().target(torch.from_numpy(data["depth_map"]))
    np.testing.assert_array_equal(target, data["target_bin"])
    foreground = box_cells(torch.from_numpy(data["gt_boxes2d"]), 8, tuple(target.shape[1:]))
    np.testing.assert_array_equal(foreground, data["fg_mask"])
    loss = 3.0 * depth_focal(logits, target, foreground)
    assert loss.item() == pytest.approx(float(data["loss_caddn"]), rel=1e-4)
    (gradient,) = torch.autograd.grad(loss, logits)
    close(gradient, data["grad_caddn"], rtol=1e-3, atol=1e-7)
    loss = 0.5 * depth_focal(logits, target)
    assert loss.item() == pytest.approx(float(data["loss_cmkd"]), rel=1e-4)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().sum().item() == pytest.approx(float(data["grad_cmkd_abs"]), rel=1e-3)
