# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from lidistill.datasets.frame import PairBatch
from lidistill.distill.audit import audit
from lidistill.distill.connectors import ProjectionMap
from lidistill.methods.slidr import SLidR, _permutation_within

CAMERAS, HEIGHT, WIDTH, LABELS = 2, 6, 8, 5


def make_batch(samples: int = 2, pairs: int = 60, seed: int = 0) -> PairBatch:
    """Random voxels, one point a voxel, random pairs and superpixels."""
    random = torch.Generator().manual_seed(seed)
    points = 20 * samples
    images = samples * CAMERAS
    point_batch = torch.arange(samples).repeat_interleave(20)
    pair_point = torch.randint(points, (pairs,), generator=random)
    camera = torch.randint(CAMERAS, (pairs,), generator=random)
    rowcol = torch.stack(
        [
            torch.randint(HEIGHT, (pairs,), generator=random),
            torch.randint(WIDTH, (pairs,), generator=random),
        ],
        dim=1,
    )
    return PairBatch(
        points=torch.randn(points, 4, generator=random),
        point_batch=point_batch,
        voxel_coords=torch.zeros(points, 4, dtype=torch.int32),
        voxel_features=torch.randn(points, 3, generator=random),
        spatial_shape=(1, 1, points),
        point_to_voxel=torch.randperm(points, generator=random),
        images=torch.randn(images, 3, HEIGHT, WIDTH, generator=random),
        image_batch=torch.arange(samples).repeat_interleave(CAMERAS),
        superpixels=torch.randint(LABELS, (images, HEIGHT, WIDTH), generator=random),
        pair_point=pair_point,
        pair_image=point_batch[pair_point] * CAMERAS + camera,
        pair_rowcol=rowcol,
        pair_uv=rowcol.flip(1).float(),
        point_labels=None,
        tokens=[f"sample-{i}" for i in range(samples)],
        batch_size=samples,
    )


def make_slidr(teacher_stride: int = 1, **kwargs) -> SLidR:
    torch.manual_seed(0)
    return SLidR(
        student=nn.Linear(3, 6),
        teacher={"model": nn.Conv2d(3, 4, teacher_stride, stride=teacher_stride)},
        point_head=nn.Linear(6, 5),
        image_head=ProjectionMap(4, 5),
        student_inputs=("voxel_features",),
        **kwargs,
    ).train()


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
    batch = make_batch()
    nothing = batch.pair_point[:0]
    empty = dataclasses.replace(
        batch,
        pair_point=nothing,
        pair_image=nothing,
        pair_rowcol=batch.pair_rowcol[:0],
        pair_uv=batch.pair_uv[:0],
    )
    method = make_slidr()
    loss = method(empty, mode="loss")["loss_infonce"]
    assert loss.item() == 0.0
    loss.backward()
    assert method.student.weight.grad.abs().sum() == 0


def test_permuting_the_pairs_changes_nothing():
    method, batch = make_slidr(), make_batch()
    order = torch.randperm(len(batch.pair_point), generator=torch.Generator().manual_seed(1))
    shuffled = dataclasses.replace(
        batch,
        pair_point=batch.pair_point[order],
        pair_image=batch.pair_image[order],
        pair_rowcol=batch.pair_rowcol[order],
        pair_uv=batch.pair_uv[order],
    )
    torch.testing.assert_close(
        method(batch, mode="loss")["loss_infonce"], method(shuffled, mode="loss")["loss_infonce"]
    )


def test_negative_control_permutes_within_samples_only():
    groups = torch.tensor([0, 1, 0, 2, 1, 0, 1, 2])
    permutation = _permutation_within(groups)
    assert torch.equal(permutation.sort().values, torch.arange(8))
    assert torch.equal(groups[permutation], groups)
    control, batch = make_slidr(permute_regions=True), make_batch()
    losses = {round(control(batch, mode="loss")["loss_infonce"].item(), 6) for _ in range(4)}
    assert len(losses) > 1


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
