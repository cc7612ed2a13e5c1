# SPDX-License-Identifier: Apache-2.0
"""Nearest-neighbour probe: nothing is trained, so it can watch a pretraining run as it goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lidistill.evaluation.probes.result import (
    ProbeResult,
    ProbeSettings,
    Standardiser,
    point_weights,
    score,
)
from lidistill.evaluation.probes.samples import (
    FrameFeatures,
    PointSample,
    sample_points,
    sample_points_uniformly,
)

BLOCK = 2**24
"""Similarities held at once; the bank and a block of points, never all points."""


def knn_probe(
    train: Iterable[FrameFeatures],
    val: Iterable[FrameFeatures],
    num_classes: int,
    settings: ProbeSettings | None = None,
    batch_norm: str = "as trained",
) -> ProbeResult:
    """Classify validation points by the votes of their most similar training points.

    Nothing is trained: labels are those of the bank alone. Similarity is the cosine of standardised
    features; a neighbour votes with its point weight times exp(similarity / temperature). The bank
    is drawn by class (``settings.bank_per_class`` of each class and frame, each point weighing what
    it stands for) or uniformly (``settings.bank_per_frame``). Arguments as
    :func:`~lidistill.evaluation.probes.linear.linear_probe`; ``settings.val_points`` validation
    points of each frame are scored.

    Source: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination", section 3.4.
    """
    settings = settings or ProbeSettings()
    sample, bank_words = _bank(train, settings)
    standardise = Standardiser(sample)
    bank = functional.normalize(standardise(sample.features), dim=1)  # (M, C)
    weights = point_weights(sample, num_classes, settings.class_balance)
    neighbours = min(settings.neighbours, len(bank))
    block = max(1, BLOCK // len(bank))

    def votes(features: Tensor) -> Tensor:
        parts = []
        for chunk in functional.normalize(standardise(features), dim=1).split(block):
            similarity, found = (chunk @ bank.T).topk(neighbours, dim=1)  # (n, k)
            strength = weights[found] * ((similarity - 1) / settings.temperature).exp()
            tally = torch.zeros(len(chunk), num_classes)
            parts.append(tally.scatter_add_(1, sample.labels[found], strength))
        return torch.cat(parts)

    words = (
        f"{neighbours} nearest neighbours by cosine of frozen features (batch norm {batch_norm}), "
        f"temperature {settings.temperature:g}, {bank_words}, {settings.val_points} validation "
        f"points a frame, seed {settings.seed}"
    )
    thinned = _thin(val, settings.val_points, settings.seed)
    return score(votes, sample, thinned, num_classes, settings, words)


def _bank(train: Iterable[FrameFeatures], settings: ProbeSettings) -> tuple[PointSample, str]:
    """The labelled points to compare with, and how they were drawn, in words."""
    if settings.bank == "uniform":
        sample = sample_points_uniformly(
            train, settings.bank_per_frame, settings.seed, settings.ignore
        )
        return sample, f"at most {settings.bank_per_frame} points a frame, drawn uniformly"
    if settings.bank != "class":
        raise ValueError(f"bank: expected 'class' or 'uniform', got {settings.bank!r}")
    sample = sample_points(train, settings.bank_per_class, settings.seed, settings.ignore)
    return sample, f"at most {settings.bank_per_class} points a class and frame"


def _thin(frames: Iterable[FrameFeatures], points: int, seed: int) -> Iterator[FrameFeatures]:
    """At most ``points`` random points of each frame."""
    for number, (features, labels) in enumerate(frames):
        rng = np.random.default_rng([seed, number])
        drawn = np.sort(rng.choice(len(labels), min(points, len(labels)), replace=False))
        rows = torch.from_numpy(drawn)
        yield features[rows.to(features.device)], labels[rows.to(labels.device)]
