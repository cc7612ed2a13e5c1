# SPDX-License-Identifier: Apache-2.0
"""Local graphs: each query place with its K nearest places, in feature space or in space.

The distances of all pairs are never held at once (no tensor of Q * n elements): memory is linear in
places and queries. :mod:`lidistill.ops.graphs.local_edges` reduces over the edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidistill.ops._threads import in_parallel
from lidistill.ops.graphs import _graph_kernels as kernels

# Entries of the distance matrix held at once, off and on a GPU: 8 MiB of float32 stay in the cache.
_BLOCK_ENTRIES = {False: 2**21, True: 2**27}
_BUCKET = 8  # cells along x and y that one bucket of the coordinate search holds


@dataclass(frozen=True)
class LocalGraph:
    """Queries and their neighbours, as rows of one list of places.

    Attributes:
        queries: (Q,) int64 place of each query.
        index: (Q, K) int32 places of its neighbours, the query among them; -1 behind the last one
            where its sample has fewer than K places.
        num_places: number of places n.
    """

    queries: Tensor
    index: Tensor
    num_places: int

    @cached_property
    def count(self) -> Tensor:
        """(Q,) int32 number of neighbours."""
        return (self.index >= 0).sum(1, dtype=torch.int32)

    @cached_property
    def num_edges(self) -> int:
        """Edges of all queries."""
        return int(self.count.sum())

    @cached_property
    def times_chosen(self) -> Tensor:
        """(n,) int64 by how many queries each place was chosen."""
        flat = self.index.reshape(-1).long()
        return torch.bincount(flat + 1, minlength=self.num_places + 1)[1:]

    @cached_property
    def owners(self) -> tuple[np.ndarray, np.ndarray]:
        """For each place the queries that chose it: starts (n + 1,) and owners (E,)."""
        starts = np.zeros(self.num_places + 1, dtype=np.int64)
        owners = np.empty(self.num_edges, dtype=np.int32)
        kernels.owner_lists(self.index.numpy(), self.count.numpy(), starts, owners)
        return starts, owners

    def lists(self) -> tuple[np.ndarray, np.ndarray]:
        """Index and count as the kernels read them."""
        return self.index.numpy(), self.count.numpy()


def feature_graph(features: Tensor, sample: Tensor, queries: Tensor, neighbours: int) -> LocalGraph:
    """Nearest places in feature space (Euclidean), per sample, the query itself included.

    Args:
        features: (n, C) features of all places; no gradient flows.
        sample: (n,) integer sample of each place.
        queries: (Q,) int64 places.
        neighbours: K; samples with fewer places give them all.

    Returns:
        The graph; of equal distances the first places are taken.
    """
    rows = features.detach()
    rows = rows if rows.dtype == torch.float64 else rows.float()
    return _graph(sample, queries, neighbours, rows)


def coordinate_graph(
    coords: Tensor,
    queries: Tensor,
    neighbours: int,
    cell: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> LocalGraph:
    """Nearest voxels in space, per sample, found through a table of buckets of voxels.

    Args:
        coords: (V, 4) int32 (batch, z, y, x), not negative.
        queries: (Q,) int64 rows of ``coords``.
        neighbours: K; samples with fewer voxels give them all.
        cell: voxel size (z, y, x), in metres or any unit.

    Returns:
        The graph; which of equally distant voxels are taken is not defined.
    """
    if coords.ndim != 2 or coords.shape[1] != 4:
        raise ValueError(f"expected coords (V, 4) as (batch, z, y, x), got {tuple(coords.shape)}")
    size = torch.tensor(cell, dtype=torch.float64, device=coords.device)
    position = coords[:, 1:].double() * size
    if coords.device.type != "cpu":
        return _graph(coords[:, 0], queries, neighbours, position.float())
    _check_queries(queries, len(coords), neighbours)
    bucket = coords[:, [0, 2, 3]].long()
    bucket[:, 1:] //= _BUCKET
    shape = (bucket.amax(0) + 1).tolist() if len(bucket) else [1, 1, 1]
    key = (bucket[:, 0] * shape[1] + bucket[:, 1]) * shape[2] + bucket[:, 2]
    members = key.argsort(stable=True)
    last = torch.bincount(key, minlength=int(np.prod(shape))).cumsum(0)
    table = torch.stack([torch.cat([last.new_zeros(1), last[:-1]]), last], 1).view(*shape, 2)
    chosen = torch.empty(len(queries), neighbours, dtype=torch.int64)
    tensors = (position, bucket, table, members, queries)
    arrays: list[Any] = [tensor.contiguous().numpy() for tensor in tensors]
    arrays += [_BUCKET * min(cell[1:]), chosen.numpy()]
    in_parallel(partial(kernels.nearest_in_buckets, *arrays), len(queries))
    return _from_chosen(queries, chosen, len(coords))


def _graph(sample: Tensor, queries: Tensor, neighbours: int, rows: Tensor) -> LocalGraph:
    """Graph by exhaustive search among the rows of each sample."""
    _check_queries(queries, len(rows), neighbours)
    chosen = torch.full((len(queries), neighbours), -1, device=rows.device)
    query_sample = sample[queries]
    for one in query_sample.unique():
        own = (sample == one).nonzero().squeeze(1)
        where = (query_sample == one).nonzero().squeeze(1)
        size = min(neighbours, len(own))
        found = _nearest(rows[own], torch.searchsorted(own, queries[where]), size)
        chosen[where, :size] = own[found]
    return _from_chosen(queries, chosen, len(rows))


def _nearest(rows: Tensor, queries: Tensor, size: int) -> Tensor:
    """(Q, size) rows nearest to the rows ``queries``, in blocks of queries."""
    rows = rows - rows.mean(0)  # distances from products: keep them small
    squared = rows.square().sum(1)
    chosen = torch.empty(len(queries), size, dtype=torch.int64, device=rows.device)
    block = max(1, _BLOCK_ENTRIES[rows.is_cuda] // len(rows))
    with torch.autocast(rows.device.type, enabled=False):
        for part in range(0, len(queries), block):
            own = queries[part : part + block]
            # |x - y|^2 without |x|^2, the same for the whole row
            distances = torch.addmm(squared, rows[own], rows.T, alpha=-2)
            distances.scatter_(1, own[:, None], -torch.inf)  # itself, also among its doubles
            out = chosen[part : part + block]
            if rows.device.type == "cpu" and rows.dtype == torch.float32:
                select = partial(kernels.select_smallest, distances.numpy(), out.numpy())
                in_parallel(select, len(own))
            else:
                out.copy_(distances.topk(size, dim=1, largest=False).indices)
    return chosen


def _from_chosen(queries: Tensor, chosen: Tensor, num_places: int) -> LocalGraph:
    if bool((chosen[:, 0] < 0).any()):
        chosen = chosen.sort(1, descending=True).values  # what is missing (-1) goes last
    return LocalGraph(queries, chosen.int(), num_places)


def _check_queries(queries: Tensor, places: int, neighbours: int) -> None:
    if neighbours < 1:
        raise ValueError(f"expected at least one neighbour, got {neighbours}")
    if len(queries) and not 0 <= int(queries.min()) <= int(queries.max()) < places:
        raise ValueError(
            f"expected queries among {places} places, got {int(queries.min())} to "
            f"{int(queries.max())}"
        )
