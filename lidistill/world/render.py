# SPDX-License-Identifier: Apache-2.0
"""Camera images: colour of each cast ray from texture, sun, sky, haze and sensor noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lidistill.world.caster import GROUND, SKY, STEP, cast
from lidistill.world.jit import kernel
from lidistill.world.materials import texture_table
from lidistill.world.primitives import local_normal, local_point
from lidistill.world.scene import Scene, Snapshot
from lidistill.world.sensors import Camera
from lidistill.world.texture import ground_texture, hash01, noise, object_texture


@kernel
def _sky(dx, dy, dz, zenith, horizon, seed, out):  # type: ignore[no-untyped-def]
    up = max(dz, 0.0)
    mix = math.sqrt(up)
    cloud = 0.5 + 0.5 * noise(3.0 * dx / (up + 0.2), 3.0 * dy / (up + 0.2), 0.0, seed)
    for c in range(3):
        base = horizon[c] + mix * (zenith[c] - horizon[c])
        out[c] = base + 0.10 * cloud * (1.0 - base)


@kernel
def shade_kernel(  # type: ignore[no-untyped-def]
    origin, cos, sin, pixel, rays, distance, surface, world, looks, light, seed, shot, image
):
    """Colour every pixel of an image (H, W, 3); see :func:`render`."""
    prim, kinds, material, owner, tint = world
    table, ground_tints, marks = looks
    sun, zenith, horizon, white, (ambient, exposure, haze, grain) = light
    colour = np.empty(3)
    for col in range(rays.shape[0]):
        for row in range(rays.shape[1]):
            rx, ry, dz = rays[col, row, 0], rays[col, row, 1], rays[col, row, 2]
            dx, dy = cos * rx - sin * ry, sin * rx + cos * ry
            hit, t = surface[col, row], distance[col, row]
            if hit == SKY:
                _sky(dx, dy, dz, zenith, horizon, seed, colour)
            else:
                px, py, pz = origin[0] + t * dx, origin[1] + t * dy, origin[2] + t * dz
                if hit >= 0:
                    lx, ly, lz = local_point(prim, hit, px, py, pz)
                    nx, ny, nz = local_normal(prim, hit, kinds[hit], lx, ly, lz)
                    wx = prim[hit, 6] * nx - prim[hit, 7] * ny
                    wy = prim[hit, 7] * nx + prim[hit, 6] * ny
                    facing = max(-(wx * dx + wy * dy + nz * dz), 0.15)
                    gain, r, g, b, weight = object_texture(
                        table, material[hit], prim, hit, lx, ly, lz, nx, ny, nz,
                        t * pixel / facing, seed + 31 * owner[hit],
                    )  # fmt: skip
                    lit = max(wx * sun[0] + wy * sun[1] + nz * sun[2], 0.0)
                    sheen = 0.85 + 0.15 * nz
                    colour[0], colour[1], colour[2] = tint[hit, 0], tint[hit, 1], tint[hit, 2]
                else:
                    under = GROUND - hit
                    if under >= STEP:
                        under -= STEP
                    gain, weight = ground_texture(
                        table, under, px, py, t * pixel / max(-dz, 0.12), marks, seed
                    )
                    r, g, b = 0.92, 0.92, 0.88
                    lit, sheen = max(sun[2], 0.0), 1.0
                    for c in range(3):
                        colour[c] = ground_tints[under, c]
                bright = (ambient * sheen + (1.0 - ambient) * lit) * exposure * 1.15
                veil = 1.0 - math.exp(-t / haze)
                for c in range(3):
                    second = r if c == 0 else (g if c == 1 else b)
                    base = colour[c] * gain * (1.0 - weight) + second * weight
                    colour[c] = base * bright * (1.0 - veil) + horizon[c] * veil * exposure
            for c in range(3):
                rough = 0.0
                for k in range(3):
                    rough += hash01(col, row, 3 * c + k, shot) - 0.5
                value = colour[c] * white[c] + 2.0 * grain * rough
                image[row, col, c] = int(255.0 * min(max(value, 0.0), 1.0) + 0.5)


def render(
    scene: Scene, snapshot: Snapshot, camera: Camera, ego: tuple[float, float, float], shot: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Take a picture.

    Args:
        scene: for light and ground; ``snapshot`` must be of the picture's own time.
        camera: the camera.
        ego: x, y, yaw of the ego at the picture's time, world frame.
        shot: seed of the sensor noise.

    Returns:
        image (H, W, 3) uint8 RGB, and surface (W, H) int32 as from :func:`caster.cast`.
    """
    x, y, yaw = ego
    cos, sin = math.cos(yaw), math.sin(yaw)
    offset = camera.ego_from_camera[:3, 3]
    origin = np.array(
        [x + cos * offset[0] - sin * offset[1], y + sin * offset[0] + cos * offset[1], offset[2]]
    )
    distance, surface = cast(snapshot, origin, yaw, camera.table)
    light = scene.light
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    shade_kernel(
        origin,
        cos,
        sin,
        1.0 / camera.intrinsics[0, 0],
        camera.table.rays,
        distance,
        surface,
        (snapshot.prim, snapshot.kinds, snapshot.material, snapshot.owner, snapshot.tint),
        (texture_table(), scene.ground_tints, scene.marks),
        (
            light.sun,
            light.zenith * light.exposure,
            light.horizon * light.exposure,
            light.white_balance,
            (light.ambient, light.exposure, light.haze, light.noise),
        ),
        scene.seed,
        shot,
        image,
    )
    return image, surface
