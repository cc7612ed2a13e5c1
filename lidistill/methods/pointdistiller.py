# SPDX-License-Identifier: Apache-2.0
"""PointDistiller: a compact detector learns what a large one makes of local neighbourhoods.

Zhang et al., "PointDistiller: Structured Knowledge Distillation Towards Efficient and Compact 3D
Detection", CVPR 2023, https://arxiv.org/abs/2205.11098.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lidistill.distill.detectors.choices import importance_of
from lidistill.distill.detectors.edge_conv import EdgeConv
from lidistill.distill.detectors.method import detector_pair
from lidistill.distill.detectors.places import Places, match_places, point_range
from lidistill.distill.distiller import Distiller
from lidistill.distill.schedules import Schedule
from lidistill.distill.taps import Tap
from lidistill.losses.local_graph import (
    local_graph_loss,
    query_weights,
    release_weights,
    top_places,
)
from lidistill.ops.graphs.local_graph import LocalGraph, coordinate_graph, feature_graph
from lidistill.registry import MODELS

PAPER = 1.0, "frozen"
"""Temperature and the teacher's graph layer by the paper's rules, see ``compat``."""
RELEASE = 0.01, "trained"


@dataclass(frozen=True)
class GraphTap:
    """Where to build graphs, and how large.

    Attributes:
        tap: module path inside the student; see :class:`lidistill.distill.taps.Tap`.
        channels: widths (student, teacher) there.
        width: C' of the graph layers.
        queries: N places a sample; a sample with fewer gives all it has.
        neighbours: K nearest places, the query itself included; fewer where a sample has fewer.
        teacher_tap: module path inside the teacher; None = the student's.
        in_space: neighbours in space, through a table of voxels, not in the teacher's features;
            cheaper by the whole search. For taps of voxels.
    """

    tap: str | Tap
    channels: tuple[int, int]
    width: int = 32
    queries: int = 6000
    neighbours: int = 128
    teacher_tap: str | Tap | None = None
    in_space: bool = False


@MODELS.register_module()
class PointDistiller(Distiller):
    """Local distillation with reweighting, for pillars, sparse voxels, BEV maps and points.

    Args:
        student: detector, or config of one; it keeps its own data preprocessor and losses.
        teacher: ``dict(model=..., checkpoint=...)``, see :class:`lidistill.distill.Teacher`.
        graphs: name -> :class:`GraphTap` or its fields; one loss term each.
        pool: ``"none"`` compares every edge, ``"max"`` (PointRCNN) or ``"avg"`` one row a query.
        residual: edges ``[x_i - x_j ; x_i]`` instead of ``[x_j ; x_i]``.
        reweight: weigh queries by importance (section 3.3).
        temperature: of that softmax, tau; None = 1, or the release's 0.01 where ``compat``.
        teacher_side: graph layer of the teacher: ``"frozen"``, ``"orthogonal"`` or ``"trained"``;
            None = frozen, or the release's trained where ``compat``.
        compat: the release's arithmetic, all of it: voxels of a batch pooled, raw counts in the
            softmax at temperature 0.01, no reweighting of maps and points, the teacher's graph
            layer trained. A temperature or side that is named stays as it is named.
        weights: term -> number or schedule.

    Differs from the authors' release: places are matched by coordinates, so voxel sizes may differ;
    importance is standardised per sample before the softmax; weights reach BEV cells and points as
    well; the teacher is in eval mode; its graph layer is frozen.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        teacher: dict,
        graphs: Mapping[str, GraphTap | dict],
        pool: str = "none",
        residual: bool = False,
        reweight: bool = True,
        temperature: float | None = None,
        teacher_side: str | None = None,
        compat: bool = False,
        weights: Mapping[str, float | Schedule] | None = None,
    ) -> None:
        usual_temperature, usual_side = RELEASE if compat else PAPER
        temperature = usual_temperature if temperature is None else temperature
        side = usual_side if teacher_side is None else teacher_side
        self_graphs = {
            name: graph if isinstance(graph, GraphTap) else GraphTap(**graph)
            for name, graph in graphs.items()
        }
        pair = detector_pair(
            student,
            {"teacher": teacher},
            {
                name: (graph.tap, "teacher", graph.teacher_tap)
                for name, graph in self_graphs.items()
            },
        )
        connectors: dict[str, nn.Module] = {}
        for name, graph in self_graphs.items():
            own, target = graph.channels
            connectors[f"{name}_student"] = EdgeConv(own, graph.width, residual)
            connectors[f"{name}_teacher"] = EdgeConv(target, graph.width, residual, side)
        super().__init__(
            **pair,
            connectors=connectors,
            weights=weights,
        )
        self.graphs = self_graphs
        self.ranges = point_range(self.student), point_range(self.teachers["teacher"].model)
        self.pool, self.reweight, self.temperature = pool, reweight, temperature
        self.compat = compat

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], _batch: Any
    ) -> dict[str, Tensor]:
        """Section 3: important places, their graphs, one layer a side, weighted distance."""
        losses = {}
        for name, setting in self.graphs.items():
            pair = getattr(student, name), getattr(teachers["teacher"], name)
            places = match_places(*pair, self.ranges)
            importance = importance_of(places)  # points per voxel, or max_c F (section 3.1)
            queries, graph = self.local_graph(places, importance, setting)
            student_edges = self.connectors[f"{name}_student"](places.student, graph)  # G^S
            teacher_edges = self.connectors[f"{name}_teacher"](places.teacher, graph)  # G^T
            phi = self.query_weights(places, importance, queries)  # section 3.3
            losses[name] = local_graph_loss(student_edges, teacher_edges, graph, phi, self.pool)
            self.observe(f"{name}_places", len(places))
            self.observe(f"{name}_queries", len(queries))
            if phi is not None:
                effective = phi.sum().square() / phi.square().sum().clamp(min=1e-12)
                self.observe(f"{name}_effective_queries", effective.item())
        return losses

    def local_graph(
        self, places: Places, importance: Tensor, setting: GraphTap
    ) -> tuple[Tensor, LocalGraph]:
        """The N most important places of each sample, and their K neighbours (section 3.2)."""
        pooled = self.compat and places.form == "voxel"
        sample = torch.zeros_like(places.sample) if pooled else places.sample
        queries = top_places(importance, sample, setting.queries)
        if setting.in_space:
            if places.coords is None:
                raise ValueError(
                    f"in_space needs voxels, got places of form {places.form!r}; leave it out"
                )
            return queries, coordinate_graph(places.coords, queries, setting.neighbours)
        return queries, feature_graph(places.teacher, sample, queries, setting.neighbours)

    def query_weights(self, places: Places, importance: Tensor, queries: Tensor) -> Tensor | None:
        """Softmax of the importance over the queries of each sample, mean 1."""
        if not self.reweight:
            return None
        importance = importance[queries]
        if self.compat:
            return release_weights(places.form, importance, places.batch_size, self.temperature)
        return query_weights(importance, places.sample[queries], self.temperature)
