# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lidistill.evaluation.lidarseg_metric import LidarSegMetric
from lidistill.evaluation.miou import ConfusionMatrix
from lidistill.evaluation.segmentor import Segmentor, voxel_labels
from lidistill.losses.lovasz import lovasz_softmax
from tests.toy_pairs import make_batch

CLASSES = ("ignore", "a", "b", "c")


def labelled(seed=0, low=0):
    """Two frames; two points outside the grid, and voxels with several points."""
    batch = make_batch(seed=seed)
    random = torch.Generator().manual_seed(seed)
    count = len(batch.points)
    to_voxel = torch.randint(count, (count,), generator=random)
    to_voxel[[3, 25]] = -1
    labels = torch.randint(low, 4, (count,), generator=random).to(torch.uint8)
    return dataclasses.replace(batch, point_to_voxel=to_voxel, point_labels=labels)


def make_model(**options) -> Segmentor:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6))
    options = {"feature_channels": 6, "inputs": ("voxel_features",), **options}
    return Segmentor(backbone, len(CLASSES), **options)


def naive_voxel_labels(labels, point_to_voxel, voxels):
    found = [0] * voxels
    for point in reversed(range(len(labels))):
        if point_to_voxel[point] >= 0:
            found[point_to_voxel[point]] = int(labels[point])
    return torch.tensor(found)


def test_a_voxel_has_the_label_of_its_first_point():
    batch = labelled()
    expected = naive_voxel_labels(batch.point_labels, batch.point_to_voxel, len(batch.voxel_coords))
    found = voxel_labels(
        batch.point_labels.long(), batch.point_to_voxel, len(batch.voxel_coords), ignore=0
    )
    assert torch.equal(found, expected)
    assert len(voxel_labels(torch.zeros(0).long(), torch.zeros(0).long(), 0, 0)) == 0


def test_losses_are_cross_entropy_and_lovasz_of_the_labelled_voxels():
    model, batch = make_model().train(), labelled()
    losses = model(batch, mode="loss")
    scores = model.head(model.backbone(batch.voxel_features))
    labels = naive_voxel_labels(batch.point_labels, batch.point_to_voxel, len(batch.voxel_coords))
    kept = [i for i in range(len(labels)) if labels[i] != 0]
    ce = -torch.stack([scores[i].log_softmax(0)[labels[i]] for i in kept]).mean()
    torch.testing.assert_close(losses["loss_ce"], ce)
    expected = lovasz_softmax(scores.softmax(1)[kept], labels[kept])
    torch.testing.assert_close(losses["loss_lovasz"], expected)
    sum(losses.values()).backward()
    assert model.backbone[0].weight.grad.abs().sum() > 0
    assert model.head.weight.grad.abs().sum() > 0
    assert list(make_model(lovasz=0)(batch, mode="loss")) == ["loss_ce"]


def test_a_batch_without_labelled_points_costs_zero():
    model, batch = make_model().train(), labelled()
    batch.point_labels.zero_()
    losses = model(batch, mode="loss")
    assert {name: float(value.detach()) for name, value in losses.items()} == {
        "loss_ce": 0.0,
        "loss_lovasz": 0.0,
    }
    sum(losses.values()).backward()
    assert torch.equal(model.head.weight.grad, torch.zeros_like(model.head.weight))


@torch.no_grad()
def test_predictions_are_the_best_scored_class_of_each_points_voxel():
    model, batch = make_model().eval(), labelled()
    model.head.bias.copy_(torch.tensor([9.0, 0.1, 0.3, 0.2]))  # the ignored class is never taken
    frames = model.val_step({"inputs": batch})
    scores = model(batch, mode="tensor")
    assert [frame["token"] for frame in frames] == batch.tokens
    for number, frame in enumerate(frames):
        rows = [i for i in range(len(batch.points)) if batch.point_batch[i] == number]
        for row, predicted, true in zip(rows, frame["predicted"], frame["true"], strict=True):
            voxel = int(batch.point_to_voxel[row])
            best = 2 if voxel < 0 else 1 + int(scores[voxel, 1:].argmax())
            assert (int(predicted), int(true)) == (best, int(batch.point_labels[row]))


def test_metric_equals_one_matrix_over_all_points():
    model, metric = make_model().eval(), LidarSegMetric(CLASSES)
    matrix = ConfusionMatrix(4)
    batches = [labelled(seed) for seed in range(3)]
    with torch.no_grad():
        for batch in batches:
            frames = model.test_step({"inputs": batch})
            metric.process(None, frames)
            for frame in frames:
                matrix.update(frame["true"], frame["predicted"])
    found = metric.evaluate(size=6)
    expected = matrix.iou("nuscenes")
    assert found["segmentation/mIoU"] == expected.miou
    assert [found[f"segmentation/{name}"] for name in "abc"] == expected.per_class[1:].tolist()
    assert metric.outcome["frames"] == 6
    scored = sum(int((batch.point_labels != 0).sum()) for batch in batches)
    assert metric.outcome["points"] == scored == np.sum(metric.outcome["confusion"])
    assert "LidarSegEval" in metric.outcome["protocol"]


def test_metric_names_its_protocol_and_writes_json():
    frame = {"token": "t", "predicted": torch.tensor([1, 1]), "true": torch.tensor([1, 0])}
    for protocol, miou, absent in (("nuscenes", 1.0, None), ("slidr", 1.0, 1.0)):
        metric = LidarSegMetric(CLASSES, protocol)
        metric.process(None, [frame])
        assert metric.evaluate(size=1)["segmentation/mIoU"] == miou
        outcome = json.loads(json.dumps(metric.outcome, allow_nan=False))
        assert outcome["iou"] == {"a": 1.0, "b": absent, "c": absent}
    with pytest.raises(ValueError, match="known: nuscenes, slidr"):
        LidarSegMetric(CLASSES, "mine")
    with pytest.raises(ValueError, match="frame t has no labels"):
        LidarSegMetric(CLASSES).process(None, [{**frame, "true": None}])


def test_student_of_a_pretraining_is_taken_and_the_head_stays(tmp_path):
    source = make_model()
    with torch.no_grad():
        source.backbone[0].weight.fill_(0.5)
    state = {f"student.{name}": value for name, value in source.backbone.state_dict().items()}
    path = tmp_path / "iter_1.pth"
    torch.save({"state_dict": {**state, "connectors.point.weight": torch.ones(2)}}, path)
    loaded, plain = make_model(checkpoint=path), make_model()
    assert torch.equal(loaded.backbone[0].weight, source.backbone[0].weight)
    assert torch.equal(loaded.head.weight, plain.head.weight)  # the twin starts from the same head


def test_another_architecture_is_refused_with_what_matched(tmp_path):
    path = tmp_path / "other.pth"
    other = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 6))
    state = {f"student.{name}": value for name, value in other.state_dict().items()}
    torch.save({"state_dict": state}, path)
    with pytest.raises(
        ValueError, match=r"3 of 7 tensors matched.*Matched: 0\.weight.*1\.running_mean"
    ):
        make_model(checkpoint=path)


def test_a_frozen_backbone_keeps_weights_and_statistics():
    model = make_model(freeze_backbone=True).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    losses = model(labelled(), mode="loss")
    sum(losses.values()).backward()
    assert not model.backbone.training
    assert model.training
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.backbone.state_dict().items())
    assert model.head.weight.grad.abs().sum() > 0


def test_a_tap_reads_inside_the_backbone():
    model, batch = make_model(tap="0").eval(), labelled()
    expected = F.linear(model.backbone[0](batch.voxel_features), model.head.weight, model.head.bias)
    torch.testing.assert_close(model(batch), expected)


def test_what_is_missing_is_named():
    batch = labelled()
    with pytest.raises(ValueError, match="Sequential does not say how wide"):
        make_model(feature_channels=None)
    with pytest.raises(ValueError, match="have no labels"):
        make_model()(dataclasses.replace(batch, point_labels=None), mode="loss")
    batch.point_labels[batch.point_labels == 3] = 30
    with pytest.raises(ValueError, match=r"expected classes 0\.\.3, got 30.*MapPointLabels"):
        make_model()(batch, mode="loss")
