# SPDX-License-Identifier: Apache-2.0
"""Views of an object registered to those before them; a step is taken only where it helps.

Source: the idea of X-Ray's registration strategies. Differs from the authors' release: theirs is a
grid search that moves perfectly aligned views by half a metre on average and tests nothing; here
open3d's point-to-plane ICP, whose result must be small, match no fewer points, and leave less of
the distance, points without a match counted at the full reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.accumulate import Clouds
from lidistill.converters.object_bank.bank import REFINED

MIN_POINTS = 30  # a view, and what it is registered to
REACH = 0.3  # metres within which points correspond
LONGEST_SHIFT = 0.5  # metres
LARGEST_TURN = np.deg2rad(10.0)
BETTER = 0.9  # of the distance before


@dataclass(frozen=True)
class Match:
    """How well one cloud lies on another.

    Attributes:
        fitness: share of its points with a neighbour within :data:`REACH`.
        distance: root mean square distance to the neighbour's tangent plane, metres; a point
            without a neighbour counts with the full reach. Distances between points would say how
            densely the surface was seen.
    """

    fitness: float
    distance: float


def refine_views(cloud: Clouds) -> tuple[Clouds, int]:
    """One instance's points, each view moved where the test accepts it.

    Args:
        cloud: of one instance, in the order of source frames.

    Returns:
        The cloud, moved points flagged, and how many views were moved.
    """
    _, starts = np.unique(cloud.source, return_index=True)
    ends = [*starts[1:], len(cloud.source)]
    xyz, flags = cloud.xyz * 1e-3, cloud.flags.copy()
    moved = 0
    for start, end in zip(starts[1:], ends[1:], strict=True):
        step = accepted_step(xyz[start:end], xyz[:start])
        if step is not None:
            xyz[start:end] = xyz[start:end] @ step[:3, :3].T + step[:3, 3]
            flags[start:end] |= REFINED
            moved += 1
    if not moved:
        return cloud, 0
    stored = np.rint(xyz * 1000.0).clip(-32767, 32767).astype(np.int16)
    return replace(cloud, xyz=stored, flags=flags), moved


def accepted_step(view: NDArray, target: NDArray) -> NDArray[np.float64] | None:
    """The rigid motion (4, 4) of a view onto a target, or None where it does not help.

    Args:
        view: (N, 3) metres.
        target: (M, 3) metres.
    """
    if min(len(view), len(target)) < MIN_POINTS:
        return None
    registration, view_cloud, target_cloud = _open3d(view, target)
    found = registration.registration_icp(
        view_cloud,
        target_cloud,
        REACH,
        np.eye(4),
        registration.TransformationEstimationPointToPlane(),
        registration.ICPConvergenceCriteria(max_iteration=30),
    )
    step = np.asarray(found.transformation)
    normals = np.asarray(target_cloud.normals)
    old = match(view, target, normals)
    new = match(view @ step[:3, :3].T + step[:3, 3], target, normals)
    return step if accepts(step, old, new) else None


def match(view: NDArray, target: NDArray, normals: NDArray) -> Match:
    """How a view (N, 3) lies on a target (M, 3) with unit normals (M, 3)."""
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(target).query(view, distance_upper_bound=REACH)
    matched = np.isfinite(distance)
    nearest = nearest[matched]
    plane = ((view[matched] - target[nearest]) * normals[nearest]).sum(axis=1)
    square = (plane**2).sum() + REACH**2 * (~matched).sum()
    return Match(float(matched.mean()), float(np.sqrt(square / len(view))))


def accepts(step: NDArray[np.float64], before: Match, after: Match) -> bool:
    """Whether a motion is small, loses no match and comes closer.

    Args:
        step: (4, 4) rigid.
        before: of the view as it is.
        after: of the moved view.
    """
    turn = np.arccos(np.clip((np.trace(step[:3, :3]) - 1) / 2, -1.0, 1.0))
    small = np.linalg.norm(step[:3, 3]) < LONGEST_SHIFT and turn < LARGEST_TURN
    better = after.fitness >= before.fitness and after.distance < BETTER * before.distance
    return bool(small and better)


def _open3d(view: NDArray, target: NDArray) -> tuple[Any, Any, Any]:
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise ImportError(
            f"registering views needs open3d, which does not load here ({error}); install it (on "
            "slim systems libusb-1.0-0 and libgomp1 too), or leave --refine out"
        ) from error
    clouds = []
    for xyz in (view, target):
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(xyz))
        cloud.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(radius=0.5, max_nn=20))
        clouds.append(cloud)
    return open3d.pipelines.registration, clouds[0], clouds[1]
