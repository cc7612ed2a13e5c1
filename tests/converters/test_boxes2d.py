# SPDX-License-Identifier: Apache-2.0
"""2-D boxes of 3-D boxes against polygons cut with shapely."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import MultiPoint, Polygon
from shapely.geometry import box as rectangle

from lidistill.converters.boxes2d import image_boxes

MATRIX = np.array([[700.0, 0.0, 410.0], [0.0, 690.0, 200.0], [0.0, 0.0, 1.0]])
SIZE = (800, 450)


def _corners(rng: np.random.Generator, count: int, spread: float) -> np.ndarray:
    rotation = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    local = rng.uniform(0.2, 8, size=(count, 1, 3)) * (
        np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), -1).reshape(1, 8, 3)
    )
    center = rng.normal(size=(count, 1, 3)) * [spread, spread / 2, 10] + np.array([0, 0, 10])
    return local @ rotation + center


def _by_shapely(corners: np.ndarray, matrix: np.ndarray) -> tuple | None:
    """What nuScenes' exporter does, one box at a time."""
    front = corners[corners[:, 2] > 0]
    if not len(front):
        return None
    pixels = front @ matrix[:3, :3].T + (matrix[:3, 3] if matrix.shape[1] > 3 else 0)
    hull = MultiPoint(pixels[:, :2] / pixels[:, 2:]).convex_hull
    cut = hull.intersection(rectangle(0, 0, *SIZE))
    return cut.bounds if isinstance(cut, Polygon) and not cut.is_empty else None


@pytest.mark.parametrize("spread", [2.0, 15.0, 60.0])
def test_equals_polygon_clipping(spread: float) -> None:
    corners = _corners(np.random.default_rng(int(spread)), 400, spread)
    boxes, inside = image_boxes(corners, MATRIX, *SIZE)
    expected = [_by_shapely(one, MATRIX) for one in corners]
    assert inside.tolist() == [bounds is not None for bounds in expected]
    assert 5 < inside.sum() < 400
    for box, bounds in zip(boxes[inside], filter(None, expected), strict=True):
        np.testing.assert_allclose(box, bounds, atol=1e-6)


def test_kitti_projection_with_a_fourth_column() -> None:
    corners = _corners(np.random.default_rng(7), 300, 20.0)
    matrix = np.concatenate([MATRIX, [[45.0], [-0.3], [0.005]]], axis=1)
    boxes, inside = image_boxes(corners, matrix, *SIZE)
    for box, there, one in zip(boxes, inside, corners, strict=True):
        bounds = _by_shapely(one, matrix)
        assert there == (bounds is not None)
        if there:
            np.testing.assert_allclose(box, bounds, atol=1e-6)


def test_box_around_the_whole_image_gives_the_image() -> None:
    corners = np.stack(np.meshgrid([-50, 50], [-50, 50], [1, 2], indexing="ij"), -1)
    boxes, inside = image_boxes(corners.reshape(1, 8, 3).astype(float), MATRIX, *SIZE)
    assert inside.all()
    assert boxes.tolist() == [[0, 0, *SIZE]]


def test_behind_beside_and_none() -> None:
    unit = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), -1).reshape(8, 3)
    behind, beside = unit + np.array([0, 0, -5]), unit + np.array([50, 0, 5])
    boxes, inside = image_boxes(np.stack([behind, beside]), MATRIX, *SIZE)
    assert not inside.any()
    assert not boxes.any()
    boxes, inside = image_boxes(np.zeros((0, 8, 3)), MATRIX, *SIZE)
    assert boxes.shape == (0, 4)
    assert inside.shape == (0,)
