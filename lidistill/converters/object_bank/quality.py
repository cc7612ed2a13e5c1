# SPDX-License-Identifier: Apache-2.0
"""How well the views of an object lie on one another: what noisy tracks do to a bank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.bank import MIRRORED, SceneBank

LEAST = 10  # points of a view, and of the others
FAR = 1.0  # metres; larger distances count as so much


@dataclass(frozen=True)
class ClassQuality:
    """Objects of one class.

    Attributes:
        objects: with two views or more.
        views: of them.
        points: of them.
        distance: metres from a view's points to the nearest of the other views, root mean square
            over points and views: small where tracks are good.
    """

    objects: int
    views: int
    points: int
    distance: float


def bank_quality(banks: list[SceneBank]) -> dict[str, ClassQuality]:
    """Leave one view out, in turn: its distance to all others, by class."""
    found: dict[str, list[tuple[int, int, float]]] = {}
    for bank in banks:
        for instance, name in enumerate(bank.names.tolist()):
            views = view_distances(bank, instance)
            if len(views):
                points = int(bank.offsets[instance + 1] - bank.offsets[instance])
                found.setdefault(name, []).append((len(views), points, float((views**2).mean())))
    return {
        name: ClassQuality(
            len(rows),
            sum(row[0] for row in rows),
            sum(row[1] for row in rows),
            float(np.sqrt(np.mean([row[2] for row in rows]))),
        )
        for name, rows in sorted(found.items())
    }


def view_distances(bank: SceneBank, instance: int) -> NDArray[np.float64]:
    """(V,) metres, root mean square, from each view of an object to all its other views."""
    from scipy.spatial import cKDTree

    rows = slice(*bank.offsets[instance : instance + 2])
    seen = bank.flags[rows] & MIRRORED == 0
    cloud, source = bank.cloud(instance)[seen], bank.source[rows][seen]
    distances = []
    for view in np.unique(source):
        own, others = cloud[source == view], cloud[source != view]
        if min(len(own), len(others)) >= LEAST:
            near, _ = cKDTree(others).query(own, distance_upper_bound=FAR)
            distances.append(np.sqrt((np.minimum(near, FAR) ** 2).mean()))
    return np.array(distances)
