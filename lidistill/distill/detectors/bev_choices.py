# SPDX-License-Identifier: Apache-2.0
"""Choices on bird's-eye-view maps: box points, Gaussians, footprints, what the student invents.

Those of :mod:`lidistill.distill.detectors.choices` take voxels and points as well; these want maps
of a known range, all cells of them, and so stand first among a term's places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lidistill.distill.detectors.choices import Scene, check_samples
from lidistill.distill.detectors.places import Places
from lidistill.geometry.bev_cells import (
    Cells,
    SizeWeight,
    footprint_cells,
    gaussian_cells,
    in_footprints,
)
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.box_points import along_trajectory, enlarged, lattice_points, nine_points
from lidistill.losses.rows import map_rows
from lidistill.ops.points.map_read import PointReader


@dataclass(frozen=True)
class Changed:
    """Boxes as a choice takes them: larger, and at other moments.

    Attributes:
        factor: of length and width.
        by_range: (metres, factor) ascending, see :func:`lidistill.geometry.box_points.enlarged`.
        per_speed: metres longer and wider for each metre a second.
        seconds: moments at which the box counts; see
            :func:`lidistill.geometry.box_points.along_trajectory`.
    """

    factor: float = 1.0
    by_range: Sequence[tuple[float, float]] = ()
    per_speed: float = 0.0
    seconds: Sequence[float] = (0.0,)

    def __call__(self, boxes: Tensor) -> Tensor:
        """(M, 7+) -> (moments * M, 7+)."""
        grown = enlarged(boxes, self.factor, self.by_range, self.per_speed)
        return grown if tuple(self.seconds) == (0.0,) else along_trajectory(grown, self.seconds)


class _OnBoxes:
    """What choices by boxes share.

    Args:
        boxes: :class:`Changed` or its fields.
    """

    def __init__(self, boxes: Changed | dict | None = None) -> None:
        given = boxes if boxes is not None else {}
        self.change = Changed(**given) if isinstance(given, dict) else given

    def boxes_of(self, places: Places, scene: Scene) -> list[Tensor]:
        """Per sample, changed, where the maps are."""
        name = type(self).__name__
        labelled = scene.labelled(name)
        check_samples(places, labelled, name)
        return [self.change(each.detach().to(places.student.device)) for each in labelled]


class BoxPoints(_OnBoxes):
    """Nine points of every box, or a lattice over it, read bilinearly; the cells go.

    The rows are box by box, for :func:`lidistill.losses.bev.gram_relation` with as many ``points``.

    Args:
        side: K for K x K points; None for the nine of UniDistill.
        boxes: :class:`Changed` or its fields; TiG-BEV takes ``dict(factor=1.6)``.
    """

    def __init__(self, side: int | None = None, boxes: Changed | dict | None = None) -> None:
        super().__init__(boxes)
        self.side = side

    def __call__(self, places: Places, scene: Scene) -> Places:
        """Read both sides at the points."""
        grid = _grid(places, "BoxPoints")
        boxes = self.boxes_of(places, scene)
        every = torch.cat([each[:, :7] for each in boxes])
        points = nine_points(every) if self.side is None else lattice_points(every, self.side)
        counts = [points.shape[1] * len(each) for each in boxes]
        xy = points.flatten(0, 1)
        read = PointReader(grid.cells_from_metres(xy), counts, grid.shape)

        def rows(side: Tensor) -> Tensor:
            maps = side.view(places.batch_size, *grid.shape, side.shape[1])
            return read(maps.permute(0, 3, 1, 2))  # channels last as it lies

        sample = torch.cat([places.sample.new_full((count,), b) for b, count in enumerate(counts)])
        own, target = rows(places.student), rows(places.teacher)
        return replace(
            places, student=own, teacher=target, sample=sample, form="point", xy=xy, grid=None
        )


class CentreGaussian(_OnBoxes):
    """Cells under CenterNet's Gaussian of each box, weighed by it.

    Args:
        overlap: IoU that sets the radius: 0.1 in CenterPoint, BEVDistill, VCD; 0.7 in UniDistill.
        min_radius: cells; 2 in VCD, 1 in BEVDistill.
        boxes: :class:`Changed` or its fields; VCD: ``dict(seconds=(0, -0.5, -1, -1.5, -2))``.
    """

    def __init__(
        self, overlap: float = 0.1, min_radius: int = 2, boxes: Changed | dict | None = None
    ) -> None:
        super().__init__(boxes)
        self.overlap, self.min_radius = overlap, min_radius

    def __call__(self, places: Places, scene: Scene) -> Places:
        """Keep and weigh them."""
        grid, boxes = _grid(places, "CentreGaussian"), self.boxes_of(places, scene)
        cells = gaussian_cells(boxes, grid, self.overlap, self.min_radius).compact()
        return _chosen(places, cells)


class Footprint(_OnBoxes):
    """Cells in a rotated box, weighed by the box's size.

    Args:
        size_weight: ``"sqrt"`` as DistillBEV, ``"area"`` for boxes of all sizes alike, ``"none"``.
        outside: weight of all other cells; 0 leaves them out.
        false_positives: cells where the student is surer than this of an object, and none is, count
            as in a box, with weight 1; needs ``heatmaps`` of FeatureKD. None = they do not.
        boxes: :class:`Changed` or its fields; CRKD: ``dict(by_range=((20, 1.25), (30, 1.5)))``.
    """

    def __init__(
        self,
        size_weight: SizeWeight = "sqrt",
        outside: float = 0.0,
        false_positives: float | None = None,
        boxes: Changed | dict | None = None,
    ) -> None:
        super().__init__(boxes)
        self.size_weight, self.outside = size_weight, outside
        self.false_positives = false_positives

    def __call__(self, places: Places, scene: Scene) -> Places:
        """Keep and weigh them."""
        grid, boxes = _grid(places, "Footprint"), self.boxes_of(places, scene)
        cells = footprint_cells(boxes, grid, self.size_weight, self.outside)
        if self.false_positives is not None:
            mask = cells.mask().flatten()
            invented = invented_places(places, scene, boxes, self.false_positives)
            mask = torch.where(invented, 1.0, mask)
            cells = Cells(torch.arange(len(mask), device=mask.device), mask, cells.shape).compact()
        return _chosen(places, cells)


class FalsePositives(_OnBoxes):
    """Places where the student sees an object and none is.

    Args:
        threshold: smallest probability of the student's surest class.
        boxes: :class:`Changed` or its fields; larger boxes leave more room around objects.
    """

    def __init__(self, threshold: float = 0.1, boxes: Changed | dict | None = None) -> None:
        super().__init__(boxes)
        self.threshold = threshold

    def __call__(self, places: Places, scene: Scene) -> Places:
        """Keep them."""
        boxes = self.boxes_of(places, scene)
        invented = invented_places(places, scene, boxes, self.threshold)
        return places.choose(invented.nonzero().squeeze(1))


def invented_places(
    places: Places, scene: Scene, boxes: Sequence[Tensor], threshold: float
) -> Tensor:
    """(R,) bool: the student's heatmap is above the threshold there, and no box lies there.

    Raises:
        ValueError: the student's heatmaps or the places' whereabouts are not known.
    """
    if scene.heat is None or scene.heat.grid is None or places.xy is None:
        raise ValueError(
            "false positives need the student's heatmaps; name their taps, "
            "FeatureKD(heatmaps=['pts_bbox_head.task_heads.0.heatmap', ...]), on maps of known "
            "range"
        )
    rows = map_rows(scene.heat.features)[0][:, 0]
    shape = scene.heat.grid.shape
    cells, inside = scene.heat.grid.index(places.xy)
    row, column = cells[:, 0].clamp(0, shape[0] - 1), cells[:, 1].clamp(0, shape[1] - 1)
    found = inside & (rows[(places.sample * shape[0] + row) * shape[1] + column] > threshold)
    for sample, each in enumerate(boxes):
        here = (places.sample == sample).nonzero().squeeze(1)
        found[here] &= ~in_footprints(places.xy[here], each).any(1)
    return found


def _grid(places: Places, who: str) -> BEVGrid:
    if places.form != "bev" or places.grid is None:
        raise ValueError(
            f"{who} needs all cells of BEV maps of one known range; put it first among the term's "
            "places, give taps a BEVGrid, and both detectors one range (else take Gaussian or "
            "Foreground)"
        )
    return places.grid


def _chosen(places: Places, cells: Cells) -> Places:
    return places.choose(cells.index, cells.weights)
