# SPDX-License-Identifier: Apache-2.0
"""What PointDistiller compares: the places that count, and their neighbours in feature space."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.distill.detectors.choices import importance_of
from lidistill.distill.detectors.places import Places, match_places
from lidistill.methods.pointdistiller import PointDistiller
from lidistill.ops.graphs.local_graph import LocalGraph
from lidistill.visualization.bev import bev_picture, bev_pixels
from lidistill.visualization.colours import region_colours, scalar_colours
from lidistill.visualization.overlays import contact_sheet

Forward = Literal["x", "y"]
GREY = 105
SHOWN = 9  # queries whose graphs are drawn


def local_graph_picture(
    method: PointDistiller,
    batch: Any,
    name: str | None = None,
    size: int = 720,
    forward: Forward = "x",
) -> NDArray[np.uint8]:
    """Two views from above of a batch's first sample, as the teacher sees it.

    Left, all points in grey and the N places that count, by their weight in the loss. Right, some
    of these, far from each other, with lines to their K nearest places in the teacher's features.

    Args:
        method: with a trained teacher; an untrained one has neighbours of no meaning.
        batch: of mmdet3d, on the method's device.
        name: of the graph; None for the first.
        size: of one view, pixels.
        forward: axis that points up: ``x`` in KITTI's frame, ``y`` in nuScenes'.

    Returns:
        (size, 2 size + 8, 3) uint8 RGB.

    Raises:
        ValueError: no such graph, or its places are nowhere in space.
    """
    names = list(method.graphs)
    name = name or names[0]
    if name not in names:
        raise ValueError(f"there is no graph {name!r}; there are {names}")
    teacher = getattr(method.teachers["teacher"](batch), name)
    covered = method.ranges[1]
    places = match_places(teacher, teacher, (covered, covered))
    if places.xy is None or covered is None:
        raise ValueError(f"where the places of {name!r} lie is not known; tap voxels or BEV maps")
    importance = importance_of(places)
    queries, graph = method.local_graph(places, importance, method.graphs[name])
    weights = method.query_weights(places, importance, queries)
    weights = torch.ones(len(queries)) if weights is None else weights.cpu()
    first = places.sample[queries].cpu() == 0
    points = batch["inputs"]["points"][0][:, :3].cpu().numpy()
    reach = max(abs(float(value)) for value in (*covered[:2], *covered[3:5]))
    counting = _view(points, places.xy, queries, weights, first, reach, size, forward)
    edges = _edges(points, places, graph, first.nonzero().squeeze(1), reach, size, forward)
    return contact_sheet([counting, edges], columns=2)


def _view(
    points: NDArray,
    xy: Tensor,
    queries: Tensor,
    weights: Tensor,
    first: Tensor,
    reach: float,
    size: int,
    forward: Forward,
) -> NDArray[np.uint8]:
    """Points in grey, queries over them by the logarithm of their weight."""
    centres = xy[queries].cpu()[first].numpy()
    above = np.concatenate([centres, np.full((len(centres), 1), points[:, 2].max() + 1)], 1)
    colours = scalar_colours(weights[first].clamp(min=1e-6).log().numpy())
    everything = np.concatenate([points, above])
    grey = np.full((len(points), 3), GREY, np.uint8)
    return bev_picture(
        everything, np.concatenate([grey, colours]), reach, size, forward, radius=size / 400
    )


def _edges(
    points: NDArray,
    places: Places,
    graph: LocalGraph,
    rows: Tensor,
    reach: float,
    size: int,
    forward: Forward,
) -> NDArray[np.uint8]:
    """Lines from some queries to their neighbours."""
    grey = np.full((len(points), 3), GREY, np.uint8)
    picture = bev_picture(points, grey, reach, size, forward, radius=size / 700).copy()
    xy = places.xy.cpu().numpy() if places.xy is not None else np.zeros((0, 2))
    queries, index = graph.queries.cpu().numpy(), graph.index.cpu().numpy()
    for number, row in enumerate(_apart(xy[queries[rows.numpy()]], SHOWN)):
        query = int(rows[row])
        near = index[query][index[query] >= 0]
        ends = np.rint(bev_pixels(xy[near], reach, size, forward)).astype(int)
        start = np.rint(bev_pixels(xy[queries[query], None], reach, size, forward)).astype(int)[0]
        colour = tuple(int(c) for c in region_colours(np.array([number]))[0])
        for end in ends:
            cv2.line(picture, start.tolist(), end.tolist(), colour, 1, cv2.LINE_AA)
            cv2.circle(picture, end.tolist(), max(2, size // 300), colour, -1, cv2.LINE_AA)
        cv2.circle(picture, start.tolist(), max(4, size // 140), colour, -1, cv2.LINE_AA)
        cv2.circle(picture, start.tolist(), max(4, size // 140), (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def _apart(xy: NDArray, count: int) -> list[int]:
    """Rows far from each other: each next one is the farthest from those taken."""
    if not len(xy):
        return []
    taken = [0]
    gap = np.linalg.norm(xy - xy[0], axis=1)
    while len(taken) < min(count, len(xy)):
        taken.append(int(gap.argmax()))
        gap = np.minimum(gap, np.linalg.norm(xy - xy[taken[-1]], axis=1))
    return taken
