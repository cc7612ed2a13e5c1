# SPDX-License-Identifier: Apache-2.0
"""The knowledge-distillation zoo against mdistiller and mmrazor, value and gradient."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lidistill.losses import feature, relation, response
from lidistill.losses.rows import map_rows
from tests.conftest import parity_files


def on_maps(loss, by_sample=False):
    """A loss on rows, fed with the cells of two maps."""

    def call(student, teacher):
        rows, sample = map_rows(student)
        target, _ = map_rows(teacher)
        return loss(rows, target, sample=sample) if by_sample else loss(rows, target)

    return call


def attention(student, teacher):
    """The larger map is pooled to the smaller one's size first."""
    size = min(student.shape[2:], teacher.shape[2:])
    student, teacher = (F.adaptive_avg_pool2d(side, size) for side in (student, teacher))
    return on_maps(feature.attention_transfer, True)(student, teacher)


def pkd(student, teacher):
    if student.shape != teacher.shape:
        student = F.interpolate(student, teacher.shape[2:], mode="bilinear", align_corners=False)
    return on_maps(feature.pearson_knowledge)(student, teacher)


def fitnet(student, teacher, leaves):
    if "conv_weight" in leaves:
        student = F.conv2d(student, leaves["conv_weight"][..., None, None], leaves["conv_bias"])
        parts = leaves["bn_weight"], leaves["bn_bias"]
        student = F.relu(F.batch_norm(student, None, None, *parts, training=True))
    return on_maps(feature.fitnet)(student, teacher)


def vid(student, teacher, leaves):
    mean = F.conv2d(student, leaves["regressor_weight"])
    likelihood = partial(feature.variational_information, log_scale=leaves["log_scale"])
    return on_maps(likelihood)(mean, teacher)


def loss_of(name, meta, leaves):
    """The loss of one file."""
    student, teacher = leaves["student"], leaves["teacher"]
    temperature = meta.get("temperature", meta.get("tau"))
    if name == "fitnet":
        return fitnet(student, teacher, leaves)
    if name == "vid":
        return vid(student, teacher, leaves)
    if name == "dkd":
        names = ("alpha", "beta", "temperature")
        options = {key: meta[key] for key in names}
        return response.decoupled_kd(student, teacher, leaves["target"], **options)
    if name.startswith("rkd"):
        parts = meta["distance_weight"], meta["angle_weight"]
        return relation.relational(student, teacher, None, *parts)
    losses = {
        "hinton": partial(response.softmax_kd, temperature=temperature),
        "dist": partial(response.dist, temperature=temperature),
        "at": attention,
        "pkd": pkd,
        "cwd": on_maps(partial(feature.channel_wise, temperature=temperature), True),
        "nst": on_maps(relation.neuron_selectivity, True),
        "sp": lambda s, t: relation.similarity_preserving(s.flatten(1), t.flatten(1)),
        "pkt": relation.probabilistic_transfer,
    }
    return losses[name](student, teacher)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", parity_files("pointdistiller", "kd_*.npz"))
def test_objective(path, dtype):
    data = np.load(path)
    meta = json.loads(str(data["meta"]))
    name = path.stem.removeprefix("kd_").rpartition("_")[0]
    leaves = {}
    for key in data.files:
        if key not in ("meta", "loss") and not key.startswith("grad_"):
            value = torch.from_numpy(data[key])
            if value.is_floating_point():
                value = value.to(dtype).requires_grad_(key != "teacher")
            leaves[key] = value
    loss = loss_of(name, meta, leaves)
    np.testing.assert_allclose(loss.item(), float(data["loss"]), rtol=1e-5)
    loss.backward()
    for key in data.files:
        if key.startswith("grad_"):
            expected = data[key]
            np.testing.assert_allclose(
                leaves[key.removeprefix("grad_")].grad,
                expected,
                atol=1e-4 * np.abs(expected).max(),
                err_msg=key,
            )
