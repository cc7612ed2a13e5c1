# SPDX-License-Identifier: Apache-2.0
"""Batches that a model cannot take are named before the model sees them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lidistill.distill.calls import call_model, check_boxes
from lidistill.methods import PointDistiller
from tests.methods import small_detectors


def without_boxes(batch: dict, rows: list[int]) -> dict:
    """The batch, some of its samples without an object."""
    for row in rows:
        labels = batch["data_samples"][row].gt_instances_3d
        batch["data_samples"][row].gt_instances_3d = labels[torch.zeros(0, dtype=torch.long)]
    return batch


def distilled(name: str, tap: str, width: int) -> PointDistiller:
    make = getattr(small_detectors, name)
    graph = dict(tap=tap, channels=(width, width), width=8, queries=100_000, neighbours=5)
    return PointDistiller(make(), dict(model=make(seed=1)), dict(g=graph)).train()


@pytest.mark.parametrize(
    ("name", "tap", "width"),
    [("pillars", "voxel_encoder", 16), ("centerpoint", "pts_neck[0]", 32)],
)
def test_samples_without_objects_still_teach(name, tap, width):
    """Local graphs need no boxes: the term is there, with gradient; fewer places than N as well."""
    method = distilled(name, tap, width)
    batch = without_boxes(small_detectors.batch(name.replace("pillars", "pointpillars")), [0, 1])
    losses = method(**batch, mode="loss")
    assert losses["loss_g"].item() > 0
    losses["loss_g"].backward()
    assert any(p.grad is not None and p.grad.any() for p in method.student.parameters())
    assert method.observations["g_queries"] == method.observations["g_places"]


def test_pointrcnn_says_that_it_cannot():
    method = distilled("pointrcnn", "neck.FP_modules.3", 32)
    batch = without_boxes(small_detectors.batch("pointrcnn"), [1])
    with pytest.raises(ValueError, match=r"PointRCNN cannot .* sample 1 .*SeededDetections"):
        method(**batch, mode="loss")
    with torch.no_grad():
        assert len(method.eval().val_step(batch)) == 2  # needs none


@pytest.mark.parametrize("samples", [None, "unlabelled"])
def test_a_batch_without_labels(samples):
    detector, batch = small_detectors.pillars(8), small_detectors.batch()
    if samples is None:
        del batch["data_samples"]
    else:
        for sample in batch["data_samples"]:
            del sample.gt_instances_3d
    with pytest.raises(ValueError, match=r"sample 0 .* no gt_instances_3d; put LoadAnnotations3D"):
        call_model(detector, batch, None, "loss", training=True)


def test_models_without_heads_are_not_asked():
    check_boxes(nn.Linear(1, 1), {"inputs": {}})
    flat = SimpleNamespace(gt_instances=[])  # mmdet's images
    head = nn.Module()
    head.bbox_head = nn.Identity()
    check_boxes(head, {"data_samples": [flat]})


def test_plain_modules_name_their_fields():
    with pytest.raises(ValueError, match="Linear is not an mmengine BaseModel"):
        call_model(nn.Linear(1, 1), None, None, "loss", training=True)
    with pytest.raises(ValueError, match=r"has no \['images'\]"):
        call_model(nn.Linear(1, 1), SimpleNamespace(), ("images",), "loss", training=True)
