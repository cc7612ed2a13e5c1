# SPDX-License-Identifier: Apache-2.0
"""Camera images: colour of each cast ray from texture, sun, sky, haze and sensor noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lidistill.world.jit import helper, inlined, kernel
from lidistill.world.materials import texture_table
from lidistill.world.primitives import COS, HALF_A, HALF_B, HALF_C, SIN, local_normal, local_point
from lidistill.world.scene.scene import Scene, Snapshot
from lidistill.world.sensing.caster import GROUND, SKY, STEP, cast
from lidistill.world.sensing.noise import hash01, noise
from lidistill.world.sensing.sensors import Camera, sensor_origin
from lidistill.world.sensing.texture import ground_texture, object_texture

GAIN = 1.15  # brightness of a white surface in full light, before exposure
PAINT = 0.92  # whiteness of road paint


@helper
def _sky(dx, dy, dz, zenith, horizon, seed, out):  # type: ignore[no-untyped-def]
    up = max(dz, 0.0)
    mix = math.sqrt(up)
    cloud = 0.5 + 0.5 * noise(3.0 * dx / (up + 0.2), 3.0 * dy / (up + 0.2), 0.0, seed)
    for c in range(3):
        base = horizon[c] + mix * (zenith[c] - horizon[c])
        out[c] = base + 0.10 * cloud * (1.0 - base)


@inlined
def _lit(normal, sun, ambient):  # type: ignore[no-untyped-def]
    """Light on a surface: sky from above and sun."""
    direct = max(normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2], 0.0)
    return ambient * (0.85 + 0.15 * normal[2]) + (1.0 - ambient) * direct


@inlined
def _object_colour(hit, point, ray, reach, world, looks, light, seed, out):  # type: ignore[no-untyped-def]
    """Colour of a primitive at a world point; ``reach`` is the pixel's size at that distance."""
    prim, kinds, material, owner, tint = world
    x, y, z = local_point(prim, hit, point[0], point[1], point[2])
    nx, ny, nz = local_normal(prim, hit, kinds[hit], x, y, z)
    cos, sin = prim[hit, COS], prim[hit, SIN]
    normal = (cos * nx - sin * ny, sin * nx + cos * ny, nz)
    facing = -(normal[0] * ray[0] + normal[1] * ray[1] + normal[2] * ray[2])
    half = (prim[hit, HALF_A], prim[hit, HALF_B], prim[hit, HALF_C])
    gain, r, g, b, weight = object_texture(
        looks[0],
        material[hit],
        (x, y, z),
        half,
        (nx, ny, nz),
        reach / max(facing, 0.15),
        seed + 31 * owner[hit],
    )
    bright = _lit(normal, light[0], light[4][0])
    second = (r, g, b)
    for c in range(3):
        out[c] = (tint[hit, c] * gain * (1.0 - weight) + second[c] * weight) * bright


@inlined
def _ground_colour(hit, point, ray, reach, looks, light, seed, out):  # type: ignore[no-untyped-def]
    table, tints, marks = looks
    under = GROUND - hit
    if under >= STEP:
        under -= STEP
    reach /= max(-ray[2], 0.12)
    gain, paint = ground_texture(table, under, point[0], point[1], reach, marks, seed)
    bright = _lit((0.0, 0.0, 1.0), light[0], light[4][0])
    for c in range(3):
        out[c] = (tints[under, c] * gain * (1.0 - paint) + PAINT * paint) * bright


@kernel
def shade_kernel(view, rays, distance, surface, world, looks, light, seeds, image):  # type: ignore[no-untyped-def]
    """Colour every pixel of an image (H, W, 3); see :func:`render`."""
    origin, cos, sin, pixel = view
    seed, shot = seeds
    _, zenith, horizon, white, (_, exposure, haze, grain) = light
    colour = np.empty(3)
    for col in range(rays.shape[0]):
        for row in range(rays.shape[1]):
            rx, ry, dz = (
                rays[col, row, 0],
                rays[col, row, 1],
                rays[col, row, 2],
            )
            ray = (cos * rx - sin * ry, sin * rx + cos * ry, dz)
            hit, t = surface[col, row], distance[col, row]
            if hit == SKY:
                _sky(ray[0], ray[1], dz, zenith, horizon, seed, colour)
            else:
                at = (origin[0] + t * ray[0], origin[1] + t * ray[1], origin[2] + t * dz)
                if hit >= 0:
                    _object_colour(hit, at, ray, t * pixel, world, looks, light, seed, colour)
                else:
                    _ground_colour(hit, at, ray, t * pixel, looks, light, seed, colour)
                clear = math.exp(-t / haze)
                for c in range(3):
                    colour[c] = colour[c] * GAIN * clear + horizon[c] * (1.0 - clear)
            for c in range(3):
                rough = 0.0
                for k in range(3):
                    rough += hash01(col, row, 3 * c + k, shot) - 0.5
                value = colour[c] * exposure * white[c] + 2.0 * grain * rough
                image[row, col, c] = int(255.0 * min(max(value, 0.0), 1.0) + 0.5)


def render(
    scene: Scene, snapshot: Snapshot, camera: Camera, ego: tuple[float, float, float], shot: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Take a picture.

    Args:
        scene: for light and ground.
        snapshot: the world at the picture's own time.
        camera: the camera.
        ego: x, y, yaw of the ego at the picture's time, world frame.
        shot: seed of the sensor noise.

    Returns:
        image (H, W, 3) uint8 RGB, and surface (W, H) int32 as from :func:`caster.cast`.
    """
    cos, sin = math.cos(ego[2]), math.sin(ego[2])
    origin = sensor_origin(camera.ego_from_camera, ego)
    distance, surface = cast(snapshot, origin, ego[2], camera.table)
    light = scene.light
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    shade_kernel(
        (origin, cos, sin, 1.0 / camera.intrinsics[0, 0]),
        camera.table.rays,
        distance,
        surface,
        (snapshot.prim, snapshot.kinds, snapshot.material, snapshot.owner, snapshot.tint),
        (texture_table(), scene.ground_tints, scene.marks),
        (
            light.sun,
            light.zenith,
            light.horizon,
            light.white_balance,
            (light.ambient, light.exposure, light.haze, light.noise),
        ),
        (scene.seed, shot),
        image,
    )
    return image, surface
