# SPDX-License-Identifier: Apache-2.0
"""LiDAR scans: returns with range noise, intensity, dropout and labels from the cast rays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.world.catalog import CATEGORIES, GROUND_LIDARSEG, KINDS
from lidistill.world.jit import kernel
from lidistill.world.materials import INDEX, MATERIALS, lidar_table
from lidistill.world.primitives import local_normal, local_point
from lidistill.world.scene.blueprint import MARGIN
from lidistill.world.scene.scene import Scene, Snapshot
from lidistill.world.sensing.caster import GROUND, SKY, STEP, cast
from lidistill.world.sensing.sensors import Lidar, sensor_origin

RANGE_SIGMA = 0.02


@dataclass(frozen=True)
class Scan:
    """A LiDAR scan in firing order, rays without a return included.

    Attributes:
        xyz: (N, 3) float32 LiDAR frame, metres; rays without a return lie near the origin.
        intensity: (N,) float32 in [0, full scale of the LiDAR].
        ring: (N,) int32.
        label: (N,) uint8 lidarseg index, 0 for rays without a return.
        owner: (N,) int32 index of the thing hit, -1 for none.
        returned: (N,) bool.
    """

    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    ring: NDArray[np.int32]
    label: NDArray[np.uint8]
    owner: NDArray[np.int32]
    returned: NDArray[np.bool_]


@kernel
def incidence_kernel(view, rays, distance, surface, prim, kinds, out):  # type: ignore[no-untyped-def]
    """Cosine between each ray and the normal of the surface it met."""
    origin, cos, sin = view
    for col in range(rays.shape[0]):
        for row in range(rays.shape[1]):
            hit = surface[col, row]
            rx, ry, dz = (
                rays[col, row, 0],
                rays[col, row, 1],
                rays[col, row, 2],
            )
            out[col, row] = -dz
            if hit >= 0:
                dx, dy = cos * rx - sin * ry, sin * rx + cos * ry
                t = distance[col, row]
                x, y, z = local_point(
                    prim, hit, origin[0] + t * dx, origin[1] + t * dy, origin[2] + t * dz
                )
                nx, ny, nz = local_normal(prim, hit, kinds[hit], x, y, z)
                c, s = prim[hit, 6], prim[hit, 7]
                out[col, row] = -((c * nx - s * ny) * dx + (s * nx + c * ny) * dy + nz * dz)


def _labels(
    scene: Scene, snapshot: Snapshot, surface: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Lidarseg label, owner and material of each hit."""
    kinds = [thing.kind for thing in scene.things] + ["ego"]
    of_owner = np.array([KINDS[kind].lidarseg for kind in kinds], dtype=np.uint8)
    of_ground = np.zeros(len(MATERIALS), np.uint8)
    for name, index in GROUND_LIDARSEG.items():
        of_ground[INDEX[name]] = index
    solid = surface >= 0
    on_ground = surface <= GROUND
    under = GROUND - surface
    under = np.where(under >= STEP, under - STEP, under)
    owner = np.where(solid, snapshot.owner[np.maximum(surface, 0)], -1).astype(np.int32)
    material = np.where(solid, snapshot.material[np.maximum(surface, 0)], np.maximum(under, 0))
    label = np.where(solid, of_owner[owner], 0)
    label = np.where(on_ground, of_ground[np.clip(under, 0, len(of_ground) - 1)], label)
    material = np.where(surface == SKY, 0, material)
    return label.astype(np.uint8), owner, material.astype(np.int32)


def scan(
    scene: Scene,
    snapshot: Snapshot,
    lidar: Lidar,
    ego: tuple[float, float, float],
    rng: np.random.Generator,
) -> Scan:
    """Sweep the LiDAR once at the snapshot's instant.

    Args:
        scene: for labels and weather.
        snapshot: the world at the scan's time.
        lidar: the sensor.
        ego: x, y, yaw of the ego at that time.
        rng: draws range noise, intensity spread and dropout.
    """
    origin = sensor_origin(lidar.ego_from_lidar, ego)
    table = lidar.table
    distance, surface = cast(snapshot, origin, ego[2], table, with_ego=lidar.with_ego)
    facing = np.empty(distance.shape)
    view = (origin, math.cos(ego[2]), math.sin(ego[2]))
    incidence_kernel(view, table.rays, distance, surface, snapshot.prim, snapshot.kinds, facing)
    distance, surface, facing = distance.reshape(-1), surface.reshape(-1), facing.reshape(-1)
    label, owner, material = _labels(scene, snapshot, surface)
    normal = rng.standard_normal((3, distance.size), dtype=np.float32)
    uniform = rng.random((2, distance.size), dtype=np.float32)
    reach = np.minimum(distance, lidar.max_range)
    intensity, chance = _intensity(scene, snapshot, surface, material, reach, facing, normal[1])
    lost = (uniform[0] < chance) | (distance > lidar.max_range)
    reach = reach + _jitter(scene, lidar, ego, material, reach, facing, normal)
    reach = np.where(lost, 0.05 + 0.4 * uniform[1], reach)
    step = lidar.full_scale / (255.0 if lidar.full_scale > 1.0 else 100.0)  # as files are coded
    intensity = np.floor(np.minimum(intensity * lidar.gain, lidar.full_scale) / step) * step
    return Scan(
        (lidar.directions.reshape(-1, 3) * reach[:, None]).astype(np.float32),
        np.where(lost, 0.0, intensity).astype(np.float32),
        np.tile(np.arange(len(lidar.elevation), dtype=np.int32), len(lidar.azimuth)),
        np.where(lost, CATEGORIES.index("noise"), label).astype(np.uint8),
        np.where(lost, -1, owner).astype(np.int32),
        ~lost,
    )


def _jitter(
    scene: Scene,
    lidar: Lidar,
    ego: tuple[float, float, float],
    material: NDArray[np.int32],
    reach: NDArray[np.float64],
    facing: NDArray[np.float64],
    normal: NDArray[np.float32],
) -> NDArray[np.float64]:
    """(N,) metres that a return lies behind the surface that was cast; mostly noise.

    Leaves stop a beam a little before their outline, blades of grass above the ground; what stands
    beside the grass is never reached.
    """
    jitter = np.clip(RANGE_SIGMA * normal[0], -0.9 * MARGIN, 0.9 * MARGIN).astype(np.float64)
    jitter -= lidar_table()[material, 1] * np.minimum(np.abs(normal[2]), 2.0)
    blades = np.flatnonzero((material == INDEX["grass"]) & (reach < lidar.max_range))
    if len(blades):
        lift = np.minimum(0.06 * np.abs(normal[2, blades]), 0.15)
        back = lift / np.maximum(facing[blades], 0.1)
        x, y, yaw = ego
        rays = lidar.table.rays.reshape(-1, 5)[blades, :2] * (reach[blades] - back)[:, None]
        rays += lidar.ego_from_lidar[:2, 3]
        cos, sin = math.cos(yaw), math.sin(yaw)
        points = rays @ np.array([[cos, sin], [-sin, cos]]) + [x, y]
        over_grass = scene.ground.look_up(points)[:, 0] == INDEX["grass"]
        jitter[blades] -= np.where(over_grass, back, 0.0)
    return jitter


def _intensity(
    scene: Scene,
    snapshot: Snapshot,
    surface: NDArray[np.int32],
    material: NDArray[np.int32],
    reach: NDArray[np.float64],
    facing: NDArray[np.float64],
    spread: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intensity 0-255 and the chance that the return is lost.

    Medians per material nearly coincide; the spread comes from a factor per object, one per
    primitive and one per point, and from fall-off with range and incidence.
    """
    table = lidar_table()[material]
    factor = np.where(surface >= 0, snapshot.reflectivity[np.maximum(surface, 0)], 1.0)
    ground = np.random.default_rng([scene.seed, 9]).lognormal(0.0, 0.45, len(MATERIALS))
    factor = np.where(surface >= 0, factor, ground[material])
    value = table[:, 0] * factor * np.exp(0.38 * spread)
    value *= np.clip(facing, 0.02, 1.0) ** 0.3 * (1.25 / (1.0 + reach / 40.0))
    value = np.clip(value, 0.6, 255.0)
    chance = 1.0 - np.exp(-reach / 90.0 * np.clip(9.0 / value, 0.15, 2.0))
    chance = 1.0 - (1.0 - 0.6 * chance) * (1.0 - table[:, 2]) * (1.0 - scene.light.lidar_dropout)
    return value, chance
