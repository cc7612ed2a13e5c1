# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from lidistill.datasets.frame import PairBatch
from lidistill.distill.audit import audit
from lidistill.methods.slidr import SLidR
from tests.toy_pairs import HEIGHT, WIDTH, keep_pairs, make_batch, networks, without_pairs


def make_slidr(teacher_stride: int = 1, **kwargs) -> SLidR:
    return SLidR(**networks(teacher_stride), **kwargs).train()


def naive_loss(method: SLidR, batch: PairBatch) -> float:
    """Equation 1 with loops: means over pairs and over pixels, then InfoNCE."""
    with torch.no_grad():
        rows = method.connectors["point"](method.student(batch.voxel_features)).double()
        rows = (rows / rows.norm(dim=1, keepdim=True)).numpy()
        teacher = method.teachers["image"].model(batch.images)
        maps = method.connectors["image"](teacher).double().numpy()
    k_rows: dict = {}
    for point, image, (row, col) in zip(
        batch.pair_point.tolist(),
        batch.pair_image.tolist(),
        batch.pair_rowcol.tolist(),
        strict=True,
    ):
        region = (image, int(batch.superpixels[image, row, col]))
        k_rows.setdefault(region, []).append(rows[int(batch.point_to_voxel[point])])
    k, q = [], []
    for (image, label), members in sorted(k_rows.items()):
        k.append(np.sum(members, axis=0) / (len(members) + 1e-6))
        mask = (batch.superpixels[image] == label).numpy()
        q.append(maps[image][:, mask].sum(axis=1) / (mask.sum() + 1e-6))
    logits = np.array(k) @ np.array(q).T / method.temperature
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)))


def test_loss_equals_naive_loops():
    method, batch = make_slidr(), make_batch()
    loss = method(batch, mode="loss")["loss_infonce"]
    assert loss.item() == pytest.approx(naive_loss(method, batch), rel=1e-5)


def test_low_resolution_head_equals_dense_upsampling():
    method, batch = make_slidr(teacher_stride=2), make_batch()
    loss = method(batch, mode="loss")["loss_infonce"]
    head = method.connectors["image"]

    class Dense(nn.Module):
        def forward(self, feature_map):
            return nn.functional.interpolate(
                head(feature_map), (HEIGHT, WIDTH), mode="bilinear", align_corners=True
            )

    method.connectors["image"] = Dense()
    dense = method(batch, mode="loss")["loss_infonce"]
    torch.testing.assert_close(loss, dense, rtol=1e-5, atol=1e-6)


def test_gradient_reaches_student_and_connectors_not_the_teacher():
    method, batch = make_slidr(), make_batch()
    report = audit(method, batch)
    assert set(report.gradient_norms["infonce"]) == {
        "student",
        "connectors.point",
        "connectors.image",
    }
    assert all(norm > 0 for norm in report.gradient_norms["infonce"].values())
    method(batch, mode="loss")["loss_infonce"].backward()
    assert all(p.grad is None for p in method.teachers["image"].model.parameters())
    assert 0 < report.coverage["region_coverage"] <= 1


def test_batch_without_pairs_is_zero_with_gradient():
    method = make_slidr()
    loss = method(without_pairs(make_batch()), mode="loss")["loss_infonce"]
    assert loss.item() == 0.0
    loss.backward()
    assert method.student.weight.grad.abs().sum() == 0


def test_permuting_the_pairs_changes_nothing():
    method, batch = make_slidr(), make_batch()
    order = torch.randperm(len(batch.pair_point), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        method(batch, mode="loss")["loss_infonce"],
        method(keep_pairs(batch, order), mode="loss")["loss_infonce"],
    )


def test_negative_control_takes_other_regions():
    control, batch = make_slidr(permute_regions=True), make_batch()
    losses = {round(control(batch, mode="loss")["loss_infonce"].item(), 6) for _ in range(4)}
    true = make_slidr()(batch, mode="loss")["loss_infonce"].item()
    assert len(losses) == 4
    assert round(true, 6) not in losses


def test_noise_targets_hold_nothing_of_the_images():
    control, batch = make_slidr(noise_targets=True), make_batch()
    other = dataclasses.replace(batch, images=torch.rand_like(batch.images))
    losses = []
    for images in (batch, other):
        torch.manual_seed(0)
        losses.append(control(images, mode="loss")["loss_infonce"])
    torch.testing.assert_close(*losses)
    control(batch, mode="loss")["loss_infonce"].backward()
    assert any(p.grad is not None and p.grad.any() for p in control.student.parameters())


def test_missing_superpixels_say_what_to_do():
    batch = dataclasses.replace(make_batch(), superpixels=None)
    with pytest.raises(ValueError, match="lidistill superpixels"):
        make_slidr()(batch, mode="loss")


def test_predict_returns_the_students_features():
    method, batch = make_slidr().eval(), make_batch()
    torch.testing.assert_close(
        method.val_step({"inputs": batch}), method.student(batch.voxel_features)
    )


def test_checkpoint_holds_student_and_connectors_only():
    keys = make_slidr().state_dict()
    assert {key.split(".")[0] for key in keys} == {"student", "connectors"}
