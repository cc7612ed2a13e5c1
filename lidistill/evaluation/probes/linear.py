# SPDX-License-Identifier: Apache-2.0
"""Trained probes: how well a small classifier reads the classes from frozen features of points.

A linear classifier gives the number that pretraining papers print; a two-layer MLP on raw inputs,
with the same budget, is its control. Both are seeded, take seconds on a CPU core, and leave
torch's global random state alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lidistill.evaluation.probes.result import (
    ProbeResult,
    ProbeSettings,
    Standardiser,
    point_weights,
    score,
)
from lidistill.evaluation.probes.samples import FrameFeatures, PointSample, sample_points


def linear_probe(
    train: Iterable[FrameFeatures],
    val: Iterable[FrameFeatures],
    num_classes: int,
    settings: ProbeSettings | None = None,
    batch_norm: str = "as trained",
) -> ProbeResult:
    """Fit a linear classifier to frozen point features and score it on every validation point.

    Args:
        train: features (N, C) and labels (N,) of each training frame, see
            :func:`~lidistill.evaluation.frame_features`.
        val: the same of each validation frame.
        num_classes: including the ignored one.
        settings: budget and rules.
        batch_norm: how the network's batch norm got its statistics, for the protocol's words.

    Raises:
        ValueError: no labelled point, or NaN features.
    """
    settings = settings or ProbeSettings()
    sample = sample_points(train, settings.per_class, settings.seed, settings.ignore)
    head = _linear(sample.features.shape[1], num_classes, None)
    scores = _fit(head, sample, num_classes, settings)
    words = f"linear classifier on frozen features (batch norm {batch_norm}), {_budget(settings)}"
    return score(scores, sample, val, num_classes, settings, words)


def mlp_probe(
    train: Iterable[FrameFeatures],
    val: Iterable[FrameFeatures],
    num_classes: int,
    settings: ProbeSettings | None = None,
    inputs: str = "raw inputs",
) -> ProbeResult:
    """Fit a two-layer MLP with the same budget: the control on raw inputs.

    A pretrained network whose linear probe does not beat this one shows nothing: the labels leak
    through the inputs. Arguments as :func:`linear_probe`; ``inputs`` names the columns.
    """
    settings = settings or ProbeSettings()
    sample = sample_points(train, settings.per_class, settings.seed, settings.ignore)
    generator = torch.Generator().manual_seed(settings.seed)
    head = nn.Sequential(
        _linear(sample.features.shape[1], settings.hidden, generator),
        nn.ReLU(),
        _linear(settings.hidden, num_classes, generator),
    )
    scores = _fit(head, sample, num_classes, settings)
    words = f"two-layer MLP ({settings.hidden} hidden) on {inputs}, {_budget(settings)}"
    return score(scores, sample, val, num_classes, settings, words)


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer drawn from ``generator`` as torch draws it, or of zeros without one."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = 1 / math.sqrt(inputs)
    for parameter in (layer.weight, layer.bias):
        if generator is None:
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


def _fit(head: nn.Module, sample: PointSample, num_classes: int, settings: ProbeSettings) -> Any:
    """Train ``head`` by weighted cross-entropy; returns features (N, C) -> scores (N, classes)."""
    standardise = Standardiser(sample)
    features = standardise(sample.features)
    weights = point_weights(sample, num_classes, settings.class_balance)
    generator = torch.Generator().manual_seed(settings.seed)
    batch = min(settings.batch_size, len(features))
    optimizer = torch.optim.AdamW(
        head.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    order = torch.empty(0, dtype=torch.int64)
    with torch.enable_grad():
        for _ in range(settings.steps):
            if len(order) < batch:
                order = torch.randperm(len(features), generator=generator)
            rows, order = order[:batch], order[batch:]
            loss = functional.cross_entropy(
                head(features[rows]), sample.labels[rows], reduction="none"
            )
            optimizer.zero_grad()
            (loss * weights[rows]).mean().backward()
            optimizer.step()
            cosine.step()

    def scores(values: Tensor) -> Tensor:
        return head(standardise(values))

    return scores


def _budget(settings: ProbeSettings) -> str:
    """The training budget in words."""
    return (
        f"{settings.steps} AdamW steps of {settings.batch_size} points, learning rate "
        f"{settings.learning_rate:g} cosine, weight decay {settings.weight_decay:g}, at most "
        f"{settings.per_class} points a class and frame, class weight ~ "
        f"count^{1 - settings.class_balance:g}, seed {settings.seed}"
    )
