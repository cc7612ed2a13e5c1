# SPDX-License-Identifier: Apache-2.0
import types

import numpy as np
import pytest
import torch

from lidistill.evaluation.label_maps import nuscenes_label_table
from lidistill.evaluation.probes.samples import (
    frame_features,
    raw_inputs,
    sample_points,
    voxels_to_points,
)


def frames(seed=0, count=3, points=500, classes=5, width=4):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        labels = rng.choice(classes, points, p=[0.1, 0.6, 0.2, 0.09, 0.01])
        features = rng.normal(size=(points, width)).astype(np.float32)
        yield torch.from_numpy(features), torch.from_numpy(labels)


def test_caps_each_class_of_each_frame():
    sample = sample_points(frames(), per_class=20)
    expected, total = [], 0
    for _, labels in frames():
        for label in range(1, 5):
            found = int((labels == label).sum())
            expected += [(label, found / min(20, found))] * min(20, found)
            total += found
    assert sample.labels.tolist() == [label for label, _ in expected]
    np.testing.assert_allclose(sample.stands_for, [share for _, share in expected], rtol=1e-6)
    assert (sample.frames, sample.points) == (3, total)
    counts = sample.class_counts(5)
    truth = sum(torch.bincount(labels, minlength=5) for _, labels in frames()).float()
    truth[0] = 0
    torch.testing.assert_close(counts, truth)


def test_drawn_points_carry_their_own_features():
    values = torch.arange(50.0)[:, None]
    labels = torch.arange(50) % 5
    sample = sample_points([(values, labels)], per_class=3)
    assert (sample.features[:, 0].long() % 5).tolist() == sample.labels.tolist()
    assert len(set(sample.features[:, 0].tolist())) == 12


def test_draw_depends_on_seed_and_labels_only():
    wide = [(torch.cat([f, f * 2], dim=1), y) for f, y in frames()]
    a, b = sample_points(frames(), 20, seed=1), sample_points(wide, 20, seed=1)
    torch.testing.assert_close(b.features[:, :4], a.features)
    assert not torch.equal(sample_points(frames(), 20, seed=2).features, a.features)


def test_ignore_none_keeps_every_class():
    assert set(sample_points(frames(), 20, ignore=None).labels.tolist()) == {0, 1, 2, 3, 4}


def test_nothing_to_sample():
    with pytest.raises(ValueError, match="no labelled point in 1 frames"):
        sample_points([(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))], 5)
    with pytest.raises(ValueError, match="no labelled point in 0 frames"):
        sample_points([], 5)


def test_bad_frames():
    with pytest.raises(ValueError, match=r"frame 0: expected features \(N, C\) .* \(4, 2\) and"):
        sample_points([(torch.zeros(4, 2), torch.ones(3, dtype=torch.int64))], 5)
    with pytest.raises(ValueError, match="NaN or infinite"):
        sample_points([(torch.full((4, 2), torch.nan), torch.ones(4, dtype=torch.int64))], 5)


def batch(points=30, labelled=True):
    rng = np.random.default_rng(3)
    return types.SimpleNamespace(
        points=torch.from_numpy(rng.normal(size=(points, 5)).astype(np.float32)),
        point_batch=torch.from_numpy(np.sort(rng.integers(0, 2, points))),
        point_labels=torch.from_numpy(rng.integers(0, 32, points).astype(np.uint8))
        if labelled
        else None,
        batch_size=2,
        tokens=["a", "b"],
    )


def test_frame_features_splits_a_batch_and_maps_labels():
    one = batch()
    weight = torch.ones(5, 3, requires_grad=True)
    table = nuscenes_label_table()
    got = list(frame_features([one], lambda b: b.points @ weight, table))
    assert len(got) == 2
    for frame, (features, labels) in enumerate(got):
        rows = [i for i in range(30) if one.point_batch[i] == frame]
        assert not features.requires_grad
        np.testing.assert_allclose(features, (one.points[rows] @ weight).detach())
        assert labels.tolist() == [int(table[one.point_labels[i]]) for i in rows]


def test_frame_features_without_labels():
    with pytest.raises(ValueError, match=r"batch \['a', 'b'\] has no point labels: put LoadPoint"):
        next(frame_features([batch(labelled=False)], lambda b: b.points))


def test_raw_inputs():
    points = torch.tensor([[3.0, 4.0, -1.5, 20.0, 7.0]])
    assert raw_inputs(points, ("range", "intensity", "height")).tolist() == [[5.0, 20.0, -1.5]]
    assert raw_inputs(points).tolist() == [[20.0, -1.5]]
    with pytest.raises(ValueError, match=r"unknown columns \['colour'\]; choose of intensity"):
        raw_inputs(points, ("colour",))
    with pytest.raises(ValueError, match="choose of"):
        raw_inputs(points, ())


def test_voxels_to_points():
    voxels = torch.randn(4, 3)
    got = voxels_to_points(voxels, torch.tensor([2, -1, 0, 2]))
    torch.testing.assert_close(got, torch.stack([voxels[2], torch.zeros(3), voxels[0], voxels[2]]))
    assert voxels_to_points(voxels, torch.zeros(0, dtype=torch.int64)).shape == (0, 3)
