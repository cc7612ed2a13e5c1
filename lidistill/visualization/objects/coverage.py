# SPDX-License-Identifier: Apache-2.0
"""How much of an object's surface is seen: one frame, its track, its mirror image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.bank import CELL, MIRRORED, SceneBank


@dataclass(frozen=True)
class Coverage:
    """Objects of one class; numbers are means over objects.

    Attributes:
        objects: with a point at all.
        one_frame: cells of 0.3 m that hold a point, mean over the frames that see the object.
        track: the same over all frames.
        mirrored: and with mirrored points.
        points: in one frame.
        track_points: over all frames, as stored.
    """

    objects: int
    one_frame: float
    track: float
    mirrored: float
    points: float
    track_points: float


def coverage(banks: Sequence[SceneBank]) -> dict[str, Coverage]:
    """Cells and points by class."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for bank in banks:
        for instance, name in enumerate(bank.names.tolist()):
            row = _object(bank, instance)
            if row is not None:
                found.setdefault(name, []).append(row)
    return {
        name: Coverage(len(rows), *np.mean(rows, axis=0).tolist())
        for name, rows in sorted(found.items())
    }


def occupied(xyz: NDArray) -> int:
    """Cells of :data:`CELL` that hold a point of (N, 3) metres."""
    return len(np.unique(np.floor(np.asarray(xyz) / CELL).astype(np.int64), axis=0))


def _object(bank: SceneBank, instance: int) -> tuple[float, ...] | None:
    rows = slice(*bank.offsets[instance : instance + 2])
    seen = bank.flags[rows] & MIRRORED == 0
    if not seen.any():
        return None
    cloud = bank.cloud(instance)
    return (
        float(bank.view_cells[instance]),
        occupied(cloud[seen]),
        occupied(cloud),
        float(bank.view_points[instance]),
        int(seen.sum()),
    )
