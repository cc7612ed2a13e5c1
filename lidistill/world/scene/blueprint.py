# SPDX-License-Identifier: Apache-2.0
"""A blueprint: the primitives of one thing in its own frame, ready to be placed in a scene."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lidistill.world.catalog import KINDS
from lidistill.world.materials import INDEX
from lidistill.world.primitives import (
    BOX,
    CYLINDER_Y,
    CYLINDER_Z,
    ELLIPSOID,
    FRUSTUM,
)

MARGIN = 0.05  # metres between the outermost surface and the annotated box
CLEARANCE = 0.06  # things hover this far over the ground, so that no ground point enters a box
BOTTOM_MARGIN = 0.03


class Blueprint:
    """Primitives of one thing; x forward, y left, z up, origin at the centre of its footprint.

    Attributes:
        kind: key into :data:`lidistill.world.catalog.KINDS`.
        size: (length, width, height) of the annotated box in metres, margins included.
        prim: (n, 11) float64 in the columns of :mod:`primitives`, in the thing's frame.
        shapes, materials: (n,) int32; tints: (n, 3) in [0, 1]; reflectivity: (n,) factors.
    """

    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        self.kind = kind
        self._rng = rng
        self._rows: list[list[float]] = []
        self._shapes: list[int] = []
        self._materials: list[int] = []
        self._tints: list[NDArray[np.float64]] = []
        self._object_factor = float(np.exp(rng.normal(0.0, 0.55)))
        self._factors: list[float] = []

    def _add(
        self,
        shape: int,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        material: str,
        tint: NDArray[np.float64],
        slopes: tuple[float, float, float] = (0.0, 0.0, 0.0),
        yaw: float = 0.0,
    ) -> None:
        self._rows.append([*centre, *half, math.cos(yaw), math.sin(yaw), *slopes])
        self._shapes.append(shape)
        self._materials.append(INDEX[material])
        self._tints.append(np.clip(tint, 0.02, 1.0))
        self._factors.append(self._object_factor * float(np.exp(self._rng.normal(0.0, 0.25))))

    def box(
        self,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        material: str,
        tint: NDArray[np.float64],
        slopes: tuple[float, float, float] = (0.0, 0.0, 0.0),
        yaw: float = 0.0,
    ) -> None:
        """Add a box; with slopes (front, rear, side) its upright faces lean inwards."""
        shape = FRUSTUM if any(slopes) else BOX
        self._add(shape, centre, half, material, tint, slopes, yaw)

    def pillar(
        self,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        material: str,
        tint: NDArray[np.float64],
    ) -> None:
        """Add an upright elliptic cylinder."""
        self._add(CYLINDER_Z, centre, half, material, tint)

    def wheel(self, x: float, y: float, radius: float, half_width: float, z: float = -1.0) -> None:
        """Add a wheel that stands on the ground (or at height z)."""
        centre = (x, y, radius if z < 0 else z)
        tint = np.full(3, self._rng.uniform(0.10, 0.22))
        self._add(CYLINDER_Y, centre, (radius, half_width, radius), "rubber", tint)

    def blob(
        self,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        material: str,
        tint: NDArray[np.float64],
    ) -> None:
        """Add an ellipsoid."""
        self._add(ELLIPSOID, centre, half, material, tint)

    def finish(self) -> Blueprint:
        """Measure the annotated box, centre what carries one, freeze the arrays."""
        self.prim = np.array(self._rows, dtype=np.float64)  # (n, 11)
        half = self.prim[:, 3:6]
        cos, sin = np.abs(self.prim[:, 6]), np.abs(self.prim[:, 7])
        reach = np.stack(
            [cos * half[:, 0] + sin * half[:, 1], sin * half[:, 0] + cos * half[:, 1], half[:, 2]],
            axis=1,
        )
        low = (self.prim[:, :3] - reach).min(axis=0)
        high = (self.prim[:, :3] + reach).max(axis=0)
        if KINDS[self.kind].detection is not None:
            self.prim[:, :2] -= 0.5 * (low[:2] + high[:2])
        self.prim[:, 2] -= low[2]
        self.size = (
            float(high[0] - low[0] + 2 * MARGIN),
            float(high[1] - low[1] + 2 * MARGIN),
            float(high[2] - low[2] + MARGIN + BOTTOM_MARGIN),
        )
        self.shapes = np.array(self._shapes, dtype=np.int32)
        self.materials = np.array(self._materials, dtype=np.int32)
        self.tints = np.array(self._tints, dtype=np.float64)
        self.reflectivity = np.array(self._factors, dtype=np.float64)
        return self
