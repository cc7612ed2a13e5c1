# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lidistill.distill.audit import audit
from lidistill.distill.connectors import Conv1x1
from lidistill.methods.ppkt import PPKT
from tests.toy_pairs import HEIGHT, WIDTH, keep_pairs, make_batch, networks, without_pairs


def make_ppkt(stride: int = 1, **kwargs) -> PPKT:
    return PPKT(**networks(stride), **kwargs).train()


def naive_loss(method: PPKT, batch) -> float:
    """Loops over points and pixels; the map is built at full size."""
    with torch.no_grad():
        voxels = method.connectors["point"](method.student(batch.voxel_features)).double()
        maps = method.connectors["image"](method.teachers["image"].model(batch.images)).double()
        maps = torch.nn.functional.interpolate(
            maps, (HEIGHT, WIDTH), mode="bilinear", align_corners=True
        )
    points, pixels = [], []
    for point, image, (row, col) in zip(
        batch.pair_point, batch.pair_image, batch.pair_rowcol, strict=True
    ):
        k = voxels[batch.point_to_voxel[point]].numpy()
        q = maps[image, :, row, col].numpy()
        points.append(k / np.linalg.norm(k))
        pixels.append(q / np.linalg.norm(q))
    logits = np.array(points) @ np.array(pixels).T / method.temperature
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)))


@pytest.mark.parametrize("stride", [1, 2])
def test_loss_equals_naive_loops(stride):
    method, batch = make_ppkt(stride, temperature=0.2), make_batch()
    loss = method(batch, mode="loss")["loss_infonce"]
    assert loss.item() == pytest.approx(naive_loss(method, batch), rel=1e-5)


def test_a_plain_projection_gives_the_releases_loss():
    """Theirs: 1x1 convolution, upsampled to full size, unit length per pixel, then indexed."""
    parts = networks(teacher_stride=2)
    parts["image_head"] = Conv1x1(4, 5)
    method, batch = PPKT(**parts, temperature=0.2).train(), make_batch()
    with torch.no_grad():
        voxels = F.normalize(method.connectors["point"](method.student(batch.voxel_features)))
        maps = method.connectors["image"](method.teachers["image"].model(batch.images))
        maps = F.interpolate(maps, (HEIGHT, WIDTH), mode="bilinear", align_corners=True)
        row, column = batch.pair_rowcol.T
        pixels = F.normalize(maps)[batch.pair_image, :, row, column]
        logits = voxels[batch.point_to_voxel[batch.pair_point]] @ pixels.T / method.temperature
        theirs = F.cross_entropy(logits, torch.arange(len(logits)))
    torch.testing.assert_close(method(batch, mode="loss")["loss_infonce"], theirs)


def test_gradient_reaches_student_and_heads():
    method = make_ppkt()
    norms = audit(method, make_batch()).gradient_norms["infonce"]
    assert set(norms) == {"student", "connectors.point", "connectors.image"}
    assert min(norms.values()) > 0
    assert all(not p.requires_grad for p in method.teachers["image"].model.parameters())


def test_only_so_many_pairs_are_drawn():
    method = make_ppkt(num_pairs=16)
    method(make_batch(), mode="loss")
    assert method.observations["pairs"] == 16


def test_pairs_in_another_order_change_nothing():
    method, batch = make_ppkt(), make_batch()
    order = torch.arange(len(batch.pair_point)).flip(0)
    torch.testing.assert_close(
        method(batch, mode="loss")["loss_infonce"],
        method(keep_pairs(batch, order), mode="loss")["loss_infonce"],
    )


def test_batch_without_pairs_is_zero_with_gradient():
    method = make_ppkt()
    loss = method(without_pairs(make_batch()), mode="loss")["loss_infonce"]
    assert loss.item() == 0.0
    loss.backward()
    assert method.student.weight.grad.abs().sum() == 0


def test_temperature_must_be_positive():
    with pytest.raises(ValueError, match="temperature must be above 0"):
        make_ppkt(temperature=0.0)(make_batch(), mode="loss")
