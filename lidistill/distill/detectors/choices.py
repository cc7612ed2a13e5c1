# SPDX-License-Identifier: Apache-2.0
"""Choices: which of the matched places count, and how much; usable with any objective.

A choice takes places and what is known of the batch and gives fewer places, or weights. Several are
applied one after the other and their weights multiplied. All work on the index and weight lists of
:class:`lidistill.distill.detectors.places.Places`; nothing is a dense mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lidistill.distill.detectors.places import Places
from lidistill.distill.outputs import FeatureMap
from lidistill.distill.unlabelled import is_labelled
from lidistill.losses.local_graph import channel_maximum, top_places


@dataclass(frozen=True)
class Scene:
    """What a raw batch of mmdet3d says of its samples.

    Attributes:
        points: per sample (N, 3+) xyz metres; None if the batch has none.
        boxes: per sample (M, 7+) x, y, z, l, w, h, yaw, metres and radians, or None for a frame
            without labels; None for a batch without any.
        heat: (B, 1, Y, X) how sure the student is of an object of any class; None = not asked for.
    """

    points: Sequence[Tensor] | None
    boxes: Sequence[Tensor | None] | None
    heat: FeatureMap | None = None

    @classmethod
    def of(cls, batch: Any) -> Scene:
        """Read ``inputs.points`` and ``gt_instances_3d.bboxes_3d``, as far as they are there."""
        inputs = batch.get("inputs", {}) if isinstance(batch, dict) else {}
        samples = batch.get("data_samples") if isinstance(batch, dict) else None
        boxes: list[Tensor | None] = []
        for sample in samples or ():
            found = getattr(getattr(sample, "gt_instances_3d", None), "bboxes_3d", None)
            if found is None and is_labelled(sample):
                return cls(inputs.get("points"), None)
            boxes.append(getattr(found, "tensor", found))
        return cls(inputs.get("points"), boxes if samples else None)

    def filled(self, found: Sequence[Tensor]) -> Scene:
        """The same with other boxes, a teacher's, on the frames that have no labels.

        Args:
            found: per sample (P, 7+).
        """
        if self.boxes is None:
            return self
        pairs = zip(self.boxes, found, strict=True)
        return Scene(self.points, [mine if mine is not None else other for mine, other in pairs])

    def labelled(self, who: str) -> Sequence[Tensor]:
        """The boxes; a sample without objects is fine, a batch without labels is an error."""
        if self.boxes is None:
            raise ValueError(
                f"{who} needs ground-truth boxes, but the batch has no gt_instances_3d.bboxes_3d; "
                "load annotations in the train pipeline, or choose places by TopK or Score"
            )
        known = [boxes for boxes in self.boxes if boxes is not None]
        if len(known) < len(self.boxes):
            raise ValueError(
                f"{who} needs ground-truth boxes, but the batch has frames without labels; choose "
                "places by TopK or Score, or let a teacher's boxes stand for them there "
                "(FeatureKD's `unlabelled`)"
            )
        return known


class Choice(Protocol):
    """Anything that takes places and a scene and gives places."""

    def __call__(self, places: Places, scene: Scene) -> Places:
        """The places that count."""


class Occupied:
    """BEV cells with at least one point; voxels and points are occupied by nature."""

    def __call__(self, places: Places, scene: Scene) -> Places:
        """Drop the empty cells."""
        if places.form != "bev":
            return places
        if places.grid is None or scene.points is None:
            raise ValueError(
                "Occupied needs all cells of a BEV map of known range and the batch's points; put "
                "it before other choices, or give the taps a BEVGrid"
            )
        check_samples(places, scene.points, "Occupied")
        rows, columns = places.grid.shape
        taken = torch.zeros(places.batch_size, rows, columns, dtype=torch.bool)
        taken = taken.to(places.student.device)
        for sample, points in enumerate(scene.points):
            cells, inside = places.grid.index(points[:, :2])
            taken[sample, cells[inside, 0], cells[inside, 1]] = True
        return places.choose(taken.flatten().nonzero().squeeze(1))


class Foreground:
    """Places over the footprint of a ground-truth box.

    Args:
        margin: metres by which the footprint is widened on each side.
    """

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin

    def __call__(self, places: Places, scene: Scene) -> Places:
        """Keep what lies in a box, seen from above."""
        kept = torch.zeros(len(places), dtype=torch.bool, device=places.student.device)
        for rows, along, across, boxes in _seen_from_boxes(places, scene, "Foreground"):
            half = boxes[:, 3:5] / 2 + self.margin
            inside = (along.abs() <= half[:, 0]) & (across.abs() <= half[:, 1])
            kept[rows] = inside.any(1)
        return places.choose(kept.nonzero().squeeze(1))


class Gaussian:
    """Places near objects, weighed by a Gaussian that lies along each box.

    Args:
        spread: standard deviation in half lengths and half widths of the box.
        min_deviation: metres; keeps small objects from falling between cells.
        cut: smaller weights leave a place out.
    """

    def __init__(self, spread: float = 0.5, min_deviation: float = 0.4, cut: float = 0.01) -> None:
        self.spread, self.min_deviation, self.cut = spread, min_deviation, cut

    def __call__(self, places: Places, scene: Scene) -> Places:
        """Keep what is near an object, with the largest weight of its objects."""
        weights = places.student.new_zeros(len(places), dtype=torch.float32)
        for rows, along, across, boxes in _seen_from_boxes(places, scene, "Gaussian"):
            deviation = (self.spread * boxes[:, 3:5] / 2).clamp(min=self.min_deviation)
            square = (along / deviation[:, 0]).square() + (across / deviation[:, 1]).square()
            weights[rows] = (-0.5 * square).exp().amax(1)
        rows = (weights >= self.cut).nonzero().squeeze(1)
        return places.choose(rows, weights[rows])


class TopK:
    """The most important places of each sample, by points per voxel or channel maximum.

    Args:
        count: places a sample; samples with fewer give all.
        by: ``"points"`` (where counts are known), ``"features"``, or None for what is there.
    """

    def __init__(self, count: int, by: str | None = None) -> None:
        if by not in (None, "points", "features"):
            raise ValueError(f"by must be 'points', 'features' or None, got {by!r}")
        self.count, self.by = count, by

    def __call__(self, places: Places, _scene: Scene) -> Places:
        """Keep them."""
        importance = importance_of(places, self.by)
        return places.choose(top_places(importance, places.sample, self.count))


class Score:
    """Places at which the teacher is confident; for taps of class logits.

    Args:
        threshold: smallest sigmoid of the largest class.
        weigh: multiply by the confidence.
    """

    def __init__(self, threshold: float = 0.1, weigh: bool = False) -> None:
        self.threshold, self.weigh = threshold, weigh

    def __call__(self, places: Places, _scene: Scene) -> Places:
        """Keep them."""
        score = channel_maximum(places.teacher).sigmoid()
        rows = (score >= self.threshold).nonzero().squeeze(1)
        return places.choose(rows, score[rows] if self.weigh else None)


class RandomPlaces:
    """At most ``count`` places a sample, drawn anew each time; for relations of all pairs."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, places: Places, _scene: Scene) -> Places:
        """Draw them."""
        drawn = torch.rand(len(places), device=places.student.device)
        return places.choose(top_places(drawn, places.sample, self.count))


def check_samples(places: Places, known: Sequence[Any], who: str) -> None:
    """Refuse places of more samples than there are: a map of each camera is no map of a sample.

    Args:
        places: of a batch.
        known: boxes or points, one a sample.
        who: wants them.

    Raises:
        ValueError: there are more samples among the places.
    """
    if places.batch_size > len(known):
        raise ValueError(
            f"{who} looks for the places of {len(known)} samples, but the tapped maps are "
            f"{places.batch_size}: those of each camera? Tap a map from above, or leave such "
            "choices out"
        )


def importance_of(places: Places, by: str | None = None) -> Tensor:
    """(R,) points per voxel where the teacher counts them, else its channel maximum."""
    if by == "points" and places.counts is None:
        raise ValueError(
            "these places have no point counts; tap a voxel encoder that takes (points, counts, "
            "coordinates), or use by='features'"
        )
    if by == "features" or places.counts is None:
        return channel_maximum(places.teacher)
    return places.counts.float()


def _seen_from_boxes(
    places: Places, scene: Scene, who: str
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Per sample with objects: rows (R,), distances (R, M) along and across each box, boxes."""
    if places.xy is None:
        raise ValueError(
            f"{who} needs to know where the places are; tap voxels or BEV maps of detectors with a "
            "voxel layer, or give the taps a BEVGrid"
        )
    found, labelled = [], scene.labelled(who)
    check_samples(places, labelled, who)
    for sample, boxes in enumerate(labelled):
        if len(boxes) == 0:
            continue
        rows = (places.sample == sample).nonzero().squeeze(1)
        near = boxes.detach().to(places.xy)
        gap = places.xy[rows].unsqueeze(1) - near[:, :2]  # (R, M, 2)
        cos, sin = near[:, 6].cos(), near[:, 6].sin()
        along = gap[..., 0] * cos + gap[..., 1] * sin
        across = gap[..., 1] * cos - gap[..., 0] * sin
        found.append((rows, along, across, near))
    return found
