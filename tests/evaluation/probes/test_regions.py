# SPDX-License-Identifier: Apache-2.0
"""Regions as samples of a probe, against a naive loop."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch

from lidistill.evaluation.probes.regions import Purity, region_features
from tests.toy_pairs import HEIGHT, LABELS, WIDTH, make_batch

CLASSES = 4


def labelled_batch(seed: int = 0):
    batch = make_batch(pairs=120, seed=seed)
    labels = torch.randint(
        CLASSES, (len(batch.points),), generator=torch.Generator().manual_seed(5)
    )
    return dataclasses.replace(batch, point_labels=labels.to(torch.uint8))


def test_against_a_loop() -> None:
    batch = labelled_batch()
    maps = torch.randn(len(batch.images), 3, HEIGHT, WIDTH)
    purity = Purity()
    (found,) = region_features([batch], lambda images: maps, CLASSES, purity)
    features, labels, points, agreeing = [], [], 0, 0
    for image in range(len(batch.images)):
        for region in range(LABELS):
            inside = batch.superpixels[image] == region
            votes: Counter[int] = Counter()
            for pair in range(len(batch.pair_point)):
                row, column = batch.pair_rowcol[pair].tolist()
                label = int(batch.point_labels[batch.pair_point[pair]])
                if int(batch.pair_image[pair]) == image and inside[row, column] and label:
                    votes[label] += 1
            if votes:
                features.append(maps[image][:, inside].mean(dim=1))
                best = max(votes.values())
                labels.append(min(label for label in votes if votes[label] == best))
                points, agreeing = points + sum(votes.values()), agreeing + best
    torch.testing.assert_close(found[0], torch.stack(features), atol=1e-4, rtol=1e-4)
    assert found[1].tolist() == labels
    assert purity.share == pytest.approx(agreeing / points)


def test_regions_without_labelled_points_are_left_out() -> None:
    batch = labelled_batch()
    nothing = dataclasses.replace(batch, point_labels=torch.zeros_like(batch.point_labels))
    (found,) = region_features([nothing], lambda images: images, CLASSES)
    assert found[0].shape == (0, 3)
    unlabelled = dataclasses.replace(batch, point_labels=None)
    with pytest.raises(ValueError, match="no point labels"):
        next(region_features([unlabelled], lambda images: images, CLASSES))
