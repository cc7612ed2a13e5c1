# SPDX-License-Identifier: Apache-2.0
"""Nearest-neighbour probe: nothing is trained, so it can watch a pretraining run as it goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lidistill.evaluation.point_samples import FrameFeatures, sample_points
from lidistill.evaluation.probe_result import (
    ProbeResult,
    ProbeSettings,
    Standardiser,
    point_weights,
    score,
)

TEMPERATURE = 0.07
"""Of the votes' weights; the usual value for kNN on contrastive features."""


def knn_probe(
    train: Iterable[FrameFeatures],
    val: Iterable[FrameFeatures],
    num_classes: int,
    settings: ProbeSettings | None = None,
) -> ProbeResult:
    """Classify validation points by the votes of their most similar training points.

    Similarity is the cosine of standardised features; a neighbour votes with its point weight
    times exp(similarity / 0.07). Arguments as :func:`~lidistill.evaluation.linear_probe`;
    ``settings.val_points`` validation points of each frame are scored.

    Source: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination", section 3.4.
    """
    settings = settings or ProbeSettings()
    sample = sample_points(train, settings.bank_per_class, settings.seed, settings.ignore)
    standardise = Standardiser(sample)
    bank = functional.normalize(standardise(sample.features), dim=1)  # (M, C)
    weights = point_weights(sample, num_classes, settings.class_balance)
    neighbours = min(settings.neighbours, len(bank))

    def votes(features: Tensor) -> Tensor:
        parts = []
        for chunk in functional.normalize(standardise(features), dim=1).split(1024):
            similarity, found = (chunk @ bank.T).topk(neighbours, dim=1)  # (n, k)
            strength = weights[found] * ((similarity - 1) / TEMPERATURE).exp()
            tally = torch.zeros(len(chunk), num_classes)
            parts.append(tally.scatter_add_(1, sample.labels[found], strength))
        return torch.cat(parts)

    words = (
        f"{neighbours} nearest neighbours by cosine of frozen features, temperature {TEMPERATURE}, "
        f"at most {settings.bank_per_class} points a class and frame, {settings.val_points} "
        f"validation points a frame, seed {settings.seed}"
    )
    thinned = _thin(val, settings.val_points, settings.seed)
    return score(votes, sample, thinned, num_classes, settings, words)


def _thin(frames: Iterable[FrameFeatures], points: int, seed: int) -> Iterator[FrameFeatures]:
    """At most ``points`` random points of each frame."""
    for number, (features, labels) in enumerate(frames):
        rng = np.random.default_rng([seed, number])
        drawn = np.sort(rng.choice(len(labels), min(points, len(labels)), replace=False))
        rows = torch.from_numpy(drawn)
        yield features[rows.to(features.device)], labels[rows.to(labels.device)]
