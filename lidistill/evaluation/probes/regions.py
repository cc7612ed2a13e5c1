# SPDX-License-Identifier: Apache-2.0
"""Regions of images as samples of a probe: what an image teacher knows of the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lidistill.distill.image_to_lidar import pool_pixels
from lidistill.distill.regions import SuperpixelRegions
from lidistill.evaluation.label_maps import IGNORE
from lidistill.evaluation.probes.samples import FrameFeatures


@dataclass
class Purity:
    """How much of the labelled points bears its region's label.

    Attributes:
        points: labelled points in regions.
        agreeing: those with the label of most of their region.
    """

    points: int = 0
    agreeing: int = 0

    @property
    def share(self) -> float:
        """0..1: no teacher that sees whole regions can be better on points."""
        return self.agreeing / self.points if self.points else float("nan")


def region_features(
    batches: Iterable[Any],
    feature_map: Callable[[Tensor], Tensor],
    num_classes: int,
    purity: Purity | None = None,
) -> Iterator[FrameFeatures]:
    """Mean feature and most frequent class of each region that has a labelled point.

    It is what SLidR's student is taught: the mean of the teacher's map over a superpixel. If a
    linear classifier cannot tell classes there, a student that copies it will not either.

    Args:
        batches: of :class:`lidistill.datasets.frame.PairBatch` with superpixels and classes as
            point labels.
        feature_map: frozen network, images (B, 3, H, W) -> (B, C, h, w).
        num_classes: including the ignored one.
        purity: is added up where given.

    Yields:
        Features (R, C) and classes (R,) of the regions of a batch.

    Raises:
        ValueError: a batch without labels or superpixels.
    """
    for batch in batches:
        if batch.point_labels is None:
            raise ValueError(f"batch {batch.tokens} has no point labels to name its regions by")
        regions = SuperpixelRegions.from_batch(batch)
        with torch.no_grad():
            mean, _ = pool_pixels(feature_map(batch.images).float(), regions)  # (S, C)
        labels = batch.point_labels[batch.pair_point].long()
        used = (regions.pair_region >= 0) & (labels != IGNORE)
        flat = regions.pair_region[used] * num_classes + labels[used]
        votes = torch.bincount(flat, minlength=regions.count * num_classes)
        votes = votes.view(regions.count, num_classes)  # (S, classes)
        most, label = votes.max(dim=1)
        if purity is not None:
            purity.points += int(votes.sum())
            purity.agreeing += int(most.sum())
        yield mean[most > 0], label[most > 0]
