# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from lidistill.distill.audit import audit
from lidistill.methods.slidr import SLidR
from lidistill.methods.stslidr import STSLidR
from tests.toy_pairs import make_batch, networks, without_pairs


def make_stslidr(**kwargs) -> STSLidR:
    return STSLidR(**networks(), **kwargs).train()


def region_means(rows_of: dict) -> np.ndarray:
    return np.array([np.mean(rows_of[key], axis=0) for key in sorted(rows_of)])


def naive_loss(method: STSLidR, batch, class_balance: bool) -> float:
    """Soft tolerance (no quantile) with loops."""
    with torch.no_grad():
        voxels = method.connectors["point"](method.student(batch.voxel_features)).double()
        voxels = (voxels / voxels.norm(dim=1, keepdim=True)).numpy()
        frozen = method.teachers["image"].model(batch.images)
        maps = method.connectors["image"](frozen).double().numpy()
        frozen = frozen.double().numpy()
    k, q, raw = {}, {}, {}
    for point, image, (row, col) in zip(
        batch.pair_point.tolist(),
        batch.pair_image.tolist(),
        batch.pair_rowcol.tolist(),
        strict=True,
    ):
        key = (image, int(batch.superpixels[image, row, col]))
        k.setdefault(key, []).append(voxels[int(batch.point_to_voxel[point])])
    for image, label in k:
        mask = (batch.superpixels[image] == label).numpy()
        q[image, label] = maps[image][:, mask].T
        raw[image, label] = frozen[image][:, mask].T
    k, q, raw = region_means(k), region_means(q), region_means(raw)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    similarity = raw @ raw.T
    weights = 1 - (similarity if class_balance else similarity.clip(0, 1))
    np.fill_diagonal(weights, 1.0)
    logits = weights * (k @ q.T / method.temperature)
    losses = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    if not class_balance:
        return float(losses.mean())
    votes = np.where(similarity >= 0.5, similarity, 0).sum(axis=1)
    anchors = 1 - (votes - votes.min()) / (votes - votes.min()).max()
    return float((losses * anchors).sum() / anchors.sum())


@pytest.mark.parametrize("class_balance", [False, True])
def test_loss_equals_naive_loops(class_balance):
    method = make_stslidr(min_quantile=0.0, class_balance=class_balance, temperature=0.3)
    batch = make_batch()
    loss = method(batch, mode="loss")["loss_infonce"]
    assert loss.item() == pytest.approx(naive_loss(method, batch, class_balance), rel=1e-4)


def test_gradient_reaches_student_and_heads():
    norms = audit(make_stslidr(), make_batch()).gradient_norms["infonce"]
    assert min(norms.values()) > 0
    assert set(norms) == {"student", "connectors.point", "connectors.image"}


def test_tolerance_lowers_the_weight_of_negatives():
    batch = make_batch()
    plain = SLidR(**networks()).train()(batch, mode="loss")["loss_infonce"]
    tolerant = make_stslidr(min_quantile=0.5, class_balance=False)(batch, mode="loss")
    assert tolerant["loss_infonce"] != plain


def test_scaling_the_teacher_leaves_the_similarity():
    method, batch = make_stslidr(min_quantile=0.0), make_batch()
    before = method(batch, mode="loss")["loss_infonce"]
    head = method.connectors["image"].project
    with torch.no_grad():
        for parameter in method.teachers["image"].model.parameters():
            parameter.mul_(2.0)
        head.weight.div_(2.0)
    torch.testing.assert_close(before, method(batch, mode="loss")["loss_infonce"])


def test_batch_without_pairs_is_zero_with_gradient():
    method = make_stslidr()
    loss = method(without_pairs(make_batch()), mode="loss")["loss_infonce"]
    assert loss.item() == 0.0
    loss.backward()


def test_quantile_out_of_range():
    with pytest.raises(ValueError, match="min_quantile"):
        make_stslidr(min_quantile=1.5)(make_batch(), mode="loss")
