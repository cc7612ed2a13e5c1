# SPDX-License-Identifier: Apache-2.0
"""Benches of PointDistiller's local graph loss, forward and backward.

The references compute it the way the authors' release does: one matrix of all distances, edges
``[x_j ; x_i]`` gathered at full width, a 1x1 convolution with batch norm over all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.bench.case import Case
from lidistill.losses.local_graph import (
    edge_rows,
    local_graph_loss,
    query_weights,
    top_places,
)
from lidistill.ops.graphs.local_graph import coordinate_graph, feature_graph

# voxels, teacher's and student's width, queries, neighbours, graph width
FULL = {
    "voxels, 4x": (12_000, 64, 32, 6000, 128, 32, "none"),
    "40,000 voxels": (40_000, 64, 32, 6000, 128, 32, "none"),
    "voxels of 128/64": (20_000, 128, 64, 6000, 128, 32, "none"),
    "16x, N 12,000": (24_000, 64, 32, 12_000, 128, 32, "none"),
    "points, max pooling": (16_384, 128, 45, 6000, 128, 32, "max"),
}
QUICK = {
    "voxels, 4x": (400, 16, 8, 100, 8, 8, "none"),
    "points, max pooling": (400, 16, 8, 100, 8, 8, "max"),
}
MANY = 160_000  # voxels of the scale case, which has no reference: 4 GB


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = the settings of PointDistiller's KITTI configs; "quick" = seconds, for tests.

    Returns:
        The loss at each setting, with its reference; at four times the voxels and with neighbours
        in space, without one.
    """
    found = []
    for name, setting in (FULL if size == "full" else QUICK).items():
        scene = GraphScene(*setting)
        found.append(Case(f"local_graph, {name}", scene.words, scene.reference, scene.ours))
    if size == "full":
        many = GraphScene(MANY, 64, 32, 6000, 128, 32, "none")
        near = GraphScene(40_000, 64, 32, 6000, 128, 32, "none", in_space=True)
        found.append(Case("local_graph, 160,000 voxels", many.words, None, many.ours))
        found.append(Case("local_graph, neighbours in space", near.words, None, near.ours))
    return found


class GraphScene:
    """Seeded inputs shared by reference and ours; each call returns loss and gradients."""

    def __init__(
        self,
        places: int,
        teacher: int,
        student: int,
        queries: int,
        neighbours: int,
        width: int,
        pool: str,
        in_space: bool = False,
        device: str = "cpu",
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.words = f"{places} x {teacher}/{student}, N {queries}, K {neighbours}, C' {width}"
        self.queries, self.neighbours, self.pool = queries, neighbours, pool

        def normal(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, generator=generator).to(device)

        self.teacher = normal(places, teacher)
        self.student = normal(places, student).requires_grad_()
        self.importance = torch.rand(places, generator=generator).to(device)
        self.weights = {
            side: (normal(width, 2 * c) / c**0.5).requires_grad_()
            for side, c in (("teacher", teacher), ("student", student))
        }
        self.coords: Tensor | None = None
        if in_space:
            cell = torch.randperm(400 * 400, generator=generator)[:places].sort().values
            zero = torch.zeros_like(cell)
            self.coords = torch.stack([zero, zero, cell // 400, cell % 400], 1).int().to(device)

    def _gradients(self, loss: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        value = loss()
        leaves = (self.student, *self.weights.values())
        return value.detach(), *torch.autograd.grad(value, leaves)

    def ours(self) -> tuple[Tensor, ...]:
        """Places, graph and loss, streamed."""

        def loss() -> Tensor:
            sample = self.importance.new_zeros(len(self.student), dtype=torch.long)
            queries = top_places(self.importance, sample, self.queries)
            if self.coords is None:
                graph = feature_graph(self.teacher, sample, queries, self.neighbours)
            else:
                graph = coordinate_graph(self.coords, queries, self.neighbours)
            return local_graph_loss(
                edge_rows(self.student, graph, self.weights["student"]),
                edge_rows(self.teacher, graph, self.weights["teacher"]),
                graph,
                query_weights(self.importance[queries], sample[queries]),
                self.pool,
            )

        return self._gradients(loss)

    def reference(self) -> tuple[Tensor, ...]:
        """The authors' way: all distances, all edges."""

        def edges(rows: Tensor, index: Tensor, queries: Tensor, weight: Tensor) -> Tensor:
            near = rows[index]  # (Q, K, C)
            centre = rows[queries].unsqueeze(1).repeat(1, index.shape[1], 1)
            both = torch.cat([near, centre], 2).permute(2, 0, 1).unsqueeze(0)  # (1, 2C, Q, K)
            out = F.conv2d(both, weight[:, :, None, None])
            out = F.relu(F.batch_norm(out, None, None, training=True))
            return out.amax(3, keepdim=True) if self.pool == "max" else out  # (1, C', Q, K)

        def loss() -> Tensor:
            queries = self.importance.topk(self.queries).indices.sort().values
            own = self.teacher[queries]
            inner = -2 * own @ self.teacher.T
            distance = -self.teacher.square().sum(1) - inner - own.square().sum(1, keepdim=True)
            index = distance.topk(self.neighbours, dim=1).indices  # (Q, K)
            teacher = edges(self.teacher, index, queries, self.weights["teacher"])
            student = edges(self.student, index, queries, self.weights["student"])
            sample = queries.new_zeros(len(queries))
            weight = query_weights(self.importance[queries], sample)
            return 2 * (weight[None, None, :, None] * (teacher - student).square()).mean()

        return self._gradients(loss)
