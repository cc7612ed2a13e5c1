# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from lidistill.distill.audit import audit
from lidistill.methods.scalr import ScaLR
from tests.toy_pairs import make_batch, networks, without_pairs


def make_scalr(channels: int = 4) -> ScaLR:
    parts = networks(channels=channels)
    del parts["image_head"]
    return ScaLR(**parts).train()


def test_loss_equals_naive_loops():
    method, batch = make_scalr(), make_batch()
    with torch.no_grad():
        voxels = method.connectors["point"](method.student(batch.voxel_features)).double().numpy()
        maps = method.teachers["image"].model(batch.images).double().numpy()
    distances = []
    for point, image, (row, col) in zip(
        batch.pair_point, batch.pair_image, batch.pair_rowcol, strict=True
    ):
        p, q = voxels[int(batch.point_to_voxel[point])], maps[int(image), :, int(row), int(col)]
        distances.append(np.linalg.norm(p / np.linalg.norm(p) - q / np.linalg.norm(q)))
    loss = method(batch, mode="loss")["loss_l2"]
    assert loss.item() == pytest.approx(np.mean(distances), rel=1e-5)


def test_gradient_reaches_student_and_point_head():
    norms = audit(make_scalr(), make_batch()).gradient_norms["l2"]
    assert set(norms) == {"student", "connectors.point"}
    assert min(norms.values()) > 0


def test_scaling_the_teacher_changes_nothing():
    method, batch = make_scalr(), make_batch()
    before = method(batch, mode="loss")["loss_l2"]
    for parameter in method.teachers["image"].model.parameters():
        parameter.mul_(3.0)
    torch.testing.assert_close(before, method(batch, mode="loss")["loss_l2"])


def test_batch_without_pairs_is_zero_with_gradient():
    method = make_scalr()
    loss = method(without_pairs(make_batch()), mode="loss")["loss_l2"]
    assert loss.item() == 0.0
    loss.backward()


def test_unequal_widths_and_an_image_head_are_errors():
    with pytest.raises(ValueError, match=r"ScaLR: student width 5 and teacher width 4"):
        make_scalr(channels=5)(make_batch(), mode="loss")
    with pytest.raises(ValueError, match="no image head"):
        ScaLR(**networks())
