# SPDX-License-Identifier: Apache-2.0
"""UniDistill: a detector learns from one of another sensor, at the same places seen from above.

Zhou et al., "UniDistill: A Universal Cross-Modality Knowledge Distillation Framework for 3D Object
Detection in Bird's-Eye View", CVPR 2023, https://arxiv.org/abs/2303.15083.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lidistill.distill.connectors import check_widths
from lidistill.distill.detectors.choices import Scene
from lidistill.distill.detectors.heads import branch_taps, check_heads
from lidistill.distill.detectors.method import TapPair, detector_pair
from lidistill.distill.detectors.places import grid_of, point_range
from lidistill.distill.distiller import Distiller
from lidistill.distill.outputs import FeatureMap
from lidistill.distill.schedules import Schedule
from lidistill.distill.taps import Tap
from lidistill.geometry.bev_cells import Cells, cells_of, gaussian_cells
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.box_points import nine_points
from lidistill.losses.bev import EPS, absolute, gram_relation, max_class_response
from lidistill.ops.points.map_read import PointReader, read_cells
from lidistill.registry import MODELS

PATHS = {  # teacher's sensors to student's: weights in paper and release alike
    "lidar_to_camera": dict(feature=100.0, relation=40.0, response=10.0),
    "camera_to_lidar": dict(feature=10.0, relation=5.0, response=1.0),
    "fusion_to_lidar": dict(feature=10.0, relation=1.0, response=10.0),
    "fusion_to_camera": dict(feature=10.0, relation=5.0, response=10.0),
}
Compat = Literal["aligned", "released"]


@MODELS.register_module()
class UniDistill(Distiller):
    """Feature, relation and response distillation between BEV detectors with CenterPoint's head.

    Args:
        student: detector, or config of one; it keeps its own data preprocessor and losses.
        teacher: ``dict(model=..., checkpoint=...)``, see :class:`lidistill.distill.Teacher`.
        low: map before the BEV network, in the student; feature loss.
        high: map behind it, in the student; relation loss.
        teacher_taps: ``"low"`` and ``"high"`` in the teacher, where they are not the student's.
        adapters: ``"low"`` and ``"high"`` -> module on the student's map (Adapt1 and Adapt2); the
            paper has them where the teacher is the weaker one, the release nowhere.
        temperatures: what the student's and the teacher's heatmap logits are divided by.
        overlap: IoU that sets the radius of the response's Gaussian mask.
        compat: ``"released"`` computes as the release does: rows and columns of the points
            exchanged (square maps only), a box of no size at the ego vehicle for samples without
            boxes and for all padding, centres cut towards zero.
        weights: of ``feature``, ``relation``, ``response``; :data:`PATHS` has the paper's.

    Differs from the authors' release: the points lie in their boxes, a sample without boxes
    teaches nothing, the teacher is in eval mode and assigns no targets; student and teacher may
    cover other ranges, and but for the response have other cells: boxes that both see whole count.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        teacher: dict,
        low: str | Tap = "bev_low",
        high: str | Tap = "bev_high",
        teacher_taps: Mapping[str, str | Tap] | None = None,
        adapters: Mapping[str, nn.Module | dict] | None = None,
        temperatures: tuple[float, float] = (1.0, 2.0),
        overlap: float = 0.7,
        compat: Compat = "aligned",
        weights: Mapping[str, float | Schedule] | None = None,
    ) -> None:
        if compat not in get_args(Compat):
            raise ValueError(f"compat: expected one of {get_args(Compat)}, got {compat!r}")
        student = MODELS.build(student) if isinstance(student, dict) else student
        branches = branch_taps(student)
        for option, given in (("teacher_taps", teacher_taps), ("adapters", adapters)):
            if set(given or ()) - {"low", "high"}:
                raise ValueError(f"{option}: expected 'low' and 'high', got {sorted(given or ())}")
        taps: dict[str, TapPair] = {n: (tap, "teacher", None) for n, tap in branches.items()}
        for name, tap in (("low", low), ("high", high)):
            taps[name] = tap, "teacher", (teacher_taps or {}).get(name)
        super().__init__(
            **detector_pair(student, {"teacher": teacher}, taps),
            connectors=adapters,
            weights=weights,
        )
        model = self.teachers["teacher"].model
        check_heads(self.student, model, "UniDistill")
        self.same_classes = frozenset(["teacher"])
        self.heat = [name for name in branches if name.endswith("heatmap")]
        self.regressed = [name for name in branches if not name.endswith("heatmap")]
        self.ranges = point_range(self.student), point_range(model)
        self.temperatures, self.overlap, self.compat = temperatures, overlap, compat

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: Any
    ) -> dict[str, Tensor]:
        """Sections 3.2 to 3.4: points of boxes, how they relate, what the heads say near them."""
        teacher, boxes = teachers["teacher"], Scene.of(batch).labelled("UniDistill")
        self.observe("boxes", sum(len(each) for each in boxes))

        # nine crucial points a box: four corners, four midpoints, the centre (section 3.2)
        low_s, low_t, seen = self.rows_at_points(student.low, teacher.low, boxes, "low")
        feature = absolute(low_s, low_t, seen, 9 * EPS, over_ranks=True)  # equation 2

        # cosines of the points of a box with each other (section 3.3)
        high_s, high_t, seen = self.rows_at_points(student.high, teacher.high, boxes, "high")
        relation = gram_relation(high_s, high_t, seen, points=9, over_ranks=True)  # equation 4

        # class and box maps under the boxes' Gaussians (section 3.4)
        cells, cells_t = self.cells_of_heads(student, teacher, boxes)
        heat_s, heat_t = self.head_rows(student, teacher, self.heat, cells, cells_t)
        surest = max_class_response(  # equation 5
            heat_s, heat_t, cells_t.weights, self.temperatures, over_ranks=True
        )
        box_s, box_t = self.head_rows(student, teacher, self.regressed, cells, cells_t)
        regressed = absolute(box_s, box_t, cells_t.weights, over_ranks=True)
        return {"feature": feature, "relation": relation, "response": surest + regressed}

    def rows_at_points(
        self, student: FeatureMap, teacher: FeatureMap, boxes: Sequence[Tensor], name: str
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(9 M, C) rows of both, and the weights where the maps cover unequal rectangles."""
        own, grids = student.features, (self.grid(student, 0), self.grid(teacher, 1))
        if name in self.connectors:
            own = self.connectors[name](own)
        check_widths(own.shape[1], teacher.features.shape[1], f"UniDistill's map {name!r}")
        if self.compat == "released":
            boxes = _with_ego_boxes(boxes, padding=False)
        xy = nine_points(torch.cat([each[:, :7] for each in boxes]).to(own.device)).float()
        counts = [9 * len(each) for each in boxes]
        rows = []
        for grid, maps in zip(grids, (own, teacher.features), strict=True):
            cells = grid.cells_from_metres(xy).flatten(0, 1)
            if self.compat == "released":
                _check_square(grid)
                cells = cells.flip(1)
            rows.append(PointReader(cells, counts, grid.shape)(maps))
        if (grids[0].x_range, grids[0].y_range) == (grids[1].x_range, grids[1].y_range):
            return rows[0], rows[1], None
        seen = torch.stack([grid.normalised_from_metres(xy).abs() for grid in grids])
        whole = (seen <= 1).flatten(2).all(2).all(0)  # (M,)
        return rows[0], rows[1], whole.repeat_interleave(9).float()

    def cells_of_heads(
        self, student: Any, teacher: Any, boxes: Sequence[Tensor]
    ) -> tuple[Cells, Cells]:
        """The Gaussian's cells in the student's map and the same places in the teacher's."""
        first = self.heat[0]
        grids = self.grid(getattr(student, first), 0), self.grid(getattr(teacher, first), 1)
        released = self.compat == "released"
        boxes = _with_ego_boxes(boxes, padding=True) if released else boxes
        cells = gaussian_cells(boxes, grids[0], self.overlap, compat=released)
        return cells, cells_of(cells, grids[0], grids[1], "UniDistill's response")

    def head_rows(
        self, student: Any, teacher: Any, names: Sequence[str], cells: Cells, cells_t: Cells
    ) -> tuple[Tensor, Tensor]:
        """(R, channels) of all tasks' branches side by side, of student and teacher."""
        own = [read_cells(getattr(student, name).features, cells.index) for name in names]
        target = [read_cells(getattr(teacher, name).features, cells_t.index) for name in names]
        return torch.cat(own, 1), torch.cat(target, 1)

    def grid(self, output: FeatureMap, side: int) -> BEVGrid:
        """Where a map lies: from its tap, else from the detector's range."""
        found = grid_of(output, self.ranges[side])
        if found is None:
            who = ("student", "teacher")[side]
            raise ValueError(
                f"the {who}'s maps lie nowhere known: it names no range; give its taps a BEVGrid, "
                "Tap('path', grid=BEVGrid(...))"
            )
        return found


def _with_ego_boxes(boxes: Sequence[Tensor], padding: bool) -> list[Tensor]:
    """The release's rows of zeros: one where a sample has no box, or all of its padding."""
    longest = max((len(each) for each in boxes), default=0)
    least = longest if padding else min(longest, 1)
    return [
        torch.cat([each, each.new_zeros(max(least - len(each), 0), each.shape[1])])
        for each in boxes
    ]


def _check_square(grid: BEVGrid) -> None:
    if grid.shape[0] != grid.shape[1]:
        raise ValueError(
            f"compat='released' exchanges rows and columns, which a map of {grid.shape} does not "
            "allow; take compat='aligned'"
        )
