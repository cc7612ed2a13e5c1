# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import numpy as np
import pytest
import torch

from lidistill.evaluation.probes import knn as knn_module
from lidistill.evaluation.probes.knn import knn_probe
from lidistill.evaluation.probes.linear import linear_probe, mlp_probe
from lidistill.evaluation.probes.result import ProbeSettings, Standardiser, point_weights
from lidistill.evaluation.probes.samples import sample_points, sample_points_uniformly

QUICK = ProbeSettings(steps=120, batch_size=512, per_class=60, bank_per_class=60, val_points=150)


def clouds(seed, count=3, points=400, classes=(1, 2, 3), spread=0.3, scale=(1.0, 50.0, 1e-3)):
    """Frames whose classes are blobs round their own axis; axes of very different scale."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        labels = rng.choice([0, *classes], points)
        centres = np.eye(8)[labels][:, 1:4] * 2
        features = (centres + spread * rng.normal(size=(points, 3))) * scale
        out.append((torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)))
    return out


def rings(seed, points=600):
    """Two classes that no line separates: inside and outside of a circle."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-1, 1, (points, 2)).astype(np.float32)
    labels = 1 + (np.linalg.norm(xy, axis=1) > 0.7).astype(np.int64)
    return [(torch.from_numpy(xy), torch.from_numpy(labels))]


@pytest.mark.parametrize("probe", [linear_probe, mlp_probe, knn_probe])
def test_separable_classes_score_one(probe):
    result = probe(clouds(0), clouds(1), 4, QUICK)
    assert result.miou > 0.97
    assert np.isnan(result.iou[0])
    assert result.confusion[0].sum() == 0
    scored = sum(int((y != 0).sum()) for _, y in clouds(1))
    if probe is not knn_probe:
        assert result.val_points == result.confusion.sum() == scored
    assert (result.train_frames, result.val_frames, result.unseen) == (3, 3, [])


def test_noise_scores_like_chance():
    train, val = clouds(0, spread=100.0), clouds(1, spread=100.0)
    assert linear_probe(train, val, 4, QUICK).miou < 0.3


def test_mlp_bends_where_the_line_cannot():
    settings = dataclasses.replace(QUICK, per_class=400, steps=300)
    line, bent = (p(rings(0), rings(1), 3, settings).miou for p in (linear_probe, mlp_probe))
    assert bent > 0.9 > 0.6 > line


def test_linear_probe_equals_a_naive_fit():
    """The same budget written as a plain loop, without standardiser, sampler or scheduler."""
    settings = dataclasses.replace(QUICK, per_class=10_000, batch_size=10_000, steps=40)
    train, val = clouds(0, spread=1.0), clouds(1, spread=1.0)
    x = torch.cat([f[y != 0] for f, y in train]).double()
    y = torch.cat([y[y != 0] for _, y in train])
    mean, std = x.mean(0), x.std(0, unbiased=False)
    counts = torch.bincount(y, minlength=4).double()
    weight = torch.tensor([1 / counts[label].sqrt() for label in y])
    weight = weight * len(weight) / weight.sum()
    w = torch.zeros(4, 3, dtype=torch.double, requires_grad=True)
    b = torch.zeros(4, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.AdamW([w, b], settings.learning_rate, weight_decay=1e-4)
    for step in range(40):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + np.cos(np.pi * step / 40))
        logits = ((x - mean) / std) @ w.T + b
        loss = -(weight * logits.log_softmax(1)[torch.arange(len(y)), y]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    confusion = np.zeros((4, 4), dtype=np.int64)
    for features, labels in val:
        scores = ((features.double() - mean) / std) @ w.T + b
        for i in range(len(labels)):
            if labels[i] != 0:
                confusion[labels[i], 1 + int(scores[i, 1:].argmax())] += 1
    ours = linear_probe(train, val, 4, settings).confusion
    assert np.abs(ours - confusion).sum() <= 4  # float32 against float64: points on the border


@pytest.mark.parametrize(
    ("bank", "temperature", "block"), [("class", 0.07, 2**24), ("uniform", 0.3, 200)]
)
def test_knn_probe_equals_a_naive_loop(bank, temperature, block, monkeypatch):
    monkeypatch.setattr(knn_module, "BLOCK", block)
    settings = dataclasses.replace(
        QUICK, bank=bank, temperature=temperature, bank_per_class=30, bank_per_frame=80,
        val_points=10_000, neighbours=5,
    )  # fmt: skip
    train, val = clouds(0, count=1, spread=1.5), clouds(1, count=1, points=60, spread=1.5)
    sample = sample_points(train, 30, 0) if bank == "class" else sample_points_uniformly(train, 80)
    standardise, weights = Standardiser(sample), point_weights(sample, 4, 0.5)
    bank = standardise(sample.features)
    confusion = np.zeros((4, 4), dtype=np.int64)
    for feature, label in zip(*val[0], strict=True):
        if label == 0:
            continue
        point = standardise(feature[None])[0]
        near = sorted(
            (-float(point @ other / point.norm() / other.norm()), i) for i, other in enumerate(bank)
        )[:5]
        votes = np.zeros(4)
        for distance, i in near:
            votes[sample.labels[i]] += float(weights[i]) * np.exp((-distance - 1) / temperature)
        confusion[label, votes.argmax()] += 1
    ours = knn_probe(train, val, 4, settings).confusion
    assert np.abs(ours - confusion).sum() <= 2  # at most one near-tie, decided by rounding


@pytest.mark.parametrize("probe", [linear_probe, mlp_probe, knn_probe])
def test_same_again_and_global_state_untouched(probe):
    torch.manual_seed(5)
    first = probe(clouds(0, spread=1.0), clouds(1, spread=1.0), 4, QUICK)
    after = torch.rand(3)
    torch.manual_seed(5)
    torch.testing.assert_close(after, torch.rand(3), rtol=0, atol=0)
    torch.manual_seed(99)
    with torch.no_grad():  # a caller may have switched gradients off
        second = probe(clouds(0, spread=1.0), clouds(1, spread=1.0), 4, QUICK)
    np.testing.assert_array_equal(first.confusion, second.confusion)
    assert first.protocol == second.protocol


def test_scale_and_offset_of_features_do_not_matter():
    def moved(frames):
        return [(f * 30 + 7, y) for f, y in frames]

    a = linear_probe(clouds(0, spread=1.0), clouds(1, spread=1.0), 4, QUICK)
    b = linear_probe(moved(clouds(0, spread=1.0)), moved(clouds(1, spread=1.0)), 4, QUICK)
    assert np.abs(a.confusion - b.confusion).sum() <= 6


def test_constant_feature_is_harmless():
    def padded(frames, value):
        return [(torch.cat([f, torch.full((len(f), 1), value)], dim=1), y) for f, y in frames]

    result = linear_probe(padded(clouds(0), 3.0), padded(clouds(1), 3.001), 4, QUICK)
    assert result.miou > 0.97


def test_class_without_training_points_scores_zero_and_is_named():
    result = linear_probe(clouds(0, classes=(1, 2)), clouds(1, classes=(1, 2, 3)), 5, QUICK)
    assert result.unseen == [3]
    assert result.iou[3] == 0
    assert np.isnan(result.iou[4])  # in neither
    assert result.confusion[:, 3:].sum() == 0
    assert result.miou == pytest.approx(np.nanmean(result.iou))


def test_validation_frame_without_labels_is_skipped_and_none_at_all_is_an_error():
    blank = (torch.zeros(7, 3), torch.zeros(7, dtype=torch.int64))
    with_blank = linear_probe(clouds(0), [blank, *clouds(1)], 4, QUICK)
    assert with_blank.val_frames == 4
    assert with_blank.miou == linear_probe(clouds(0), clouds(1), 4, QUICK).miou
    with pytest.raises(ValueError, match="no labelled point in 1 validation frames"):
        linear_probe(clouds(0), [blank], 4, QUICK)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_point_weights(balance):
    sample = sample_points(clouds(0, classes=(1, 1, 1, 2, 3)), 10)
    weights = point_weights(sample, 4, balance)
    counts = {
        c: sum(int((y == c).sum()) for _, y in clouds(0, classes=(1, 1, 1, 2, 3)))
        for c in (1, 2, 3)
    }
    total = {c: float(weights[sample.labels == c].sum()) for c in counts}
    for c in (2, 3):
        expected = (counts[1] / counts[c]) ** (1 - balance)
        assert total[1] / total[c] == pytest.approx(expected, rel=1e-4)
    assert float(weights.mean()) == pytest.approx(1, rel=1e-5)


def test_balance_trades_common_for_rare():
    common = (1,) * 30
    train, val = (clouds(s, classes=(*common, 2), spread=1.5) for s in (0, 1))
    recall = {}
    for balance in (0.0, 1.0):
        settings = dataclasses.replace(QUICK, class_balance=balance)
        counts = linear_probe(train, val, 4, settings).confusion
        recall[balance] = counts[2, 2] / counts[2].sum()
    assert recall[1.0] > recall[0.0]


def test_protocol_says_what_was_done():
    result = linear_probe(clouds(0), clouds(1), 4, QUICK, batch_norm="calibrated on 3 frames")
    for words in ("batch norm calibrated on 3 frames", "120 AdamW steps", "seed 0", "LidarSegEval"):
        assert words in result.protocol
    slidr = linear_probe(clouds(0), clouds(1), 5, dataclasses.replace(QUICK, protocol="slidr"))
    assert slidr.iou[4] == 1
    assert "IoU 1" in slidr.protocol


def test_result_is_json():
    result = linear_probe(clouds(0), clouds(1), 5, QUICK)
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["iou"][0] is None
    assert plain["miou"] == result.miou


def test_uniform_draw_stands_for_all_points():
    frames = clouds(0)
    sample = sample_points_uniformly(frames, 50, seed=1)
    labelled = sum(int((labels != 0).sum()) for _, labels in frames)
    assert (len(sample.labels), sample.frames, sample.points) == (150, 3, labelled)
    assert float(sample.stands_for.sum()) == pytest.approx(labelled)
    assert 0 not in sample.labels
    again = sample_points_uniformly(frames, 50, seed=1)
    assert torch.equal(sample.features, again.features)
    everything = sample_points_uniformly(frames, 10_000, ignore=None)
    assert torch.equal(everything.labels, torch.cat([labels for _, labels in frames]))
    with pytest.raises(ValueError, match="no labelled point in 1 frames"):
        sample_points_uniformly([(torch.ones(3, 2), torch.zeros(3))], 5)
    with pytest.raises(ValueError, match="'class' or 'uniform', got 'all'"):
        knn_probe(frames, frames, 4, dataclasses.replace(QUICK, bank="all"))
