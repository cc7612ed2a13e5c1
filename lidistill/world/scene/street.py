# SPDX-License-Identifier: Apache-2.0
"""Blueprints of street furniture, plants and buildings."""

from __future__ import annotations

import numpy as np

from lidistill.world.materials import PLANTS
from lidistill.world.scene.blueprint import Blueprint
from lidistill.world.scene.vehicles import Rng, paint


def cone(rng: Rng) -> Blueprint:
    """A traffic cone: a foot and three stacked cylinders with stripes."""
    plan = Blueprint("cone", rng)
    tint, height = paint(rng), rng.uniform(0.65, 1.0)
    plan.box((0, 0, 0.03), (0.22, 0.22, 0.03), "cone", tint * 0.5)
    for k, radius in enumerate((0.17, 0.12, 0.07)):
        step = (height - 0.06) / 3
        plan.pillar((0, 0, 0.06 + (k + 0.5) * step), (radius, radius, step / 2), "cone", tint)
    return plan.finish()


def barrier(rng: Rng) -> Blueprint:
    """A road barrier; its long side is y, as in nuScenes."""
    plan = Blueprint("barrier", rng)
    half, height = rng.uniform(0.95, 1.25), rng.uniform(0.85, 1.1)
    tint = paint(rng)
    plan.box((0, 0, 0.16), (0.26, half, 0.16), "barrier", tint * 0.8)
    plan.box((0, 0, (0.32 + height) / 2), (0.16, half, (height - 0.32) / 2), "barrier", tint)
    return plan.finish()


def facade(rng: Rng) -> np.ndarray:
    """A paint mixed with grey: walls are duller than cars, but of the same hues."""
    grey = rng.uniform(0.35, 0.7)
    return np.clip(0.55 * paint(rng) + 0.45 * grey, 0.05, 0.95)


def building(rng: Rng, length: float, depth: float) -> Blueprint:
    """A building of one or two blocks; ``length`` along the street."""
    plan = Blueprint("manmade", rng)
    names = ("brick", "plaster", "concrete", "glass_wall")
    material = names[rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])]
    height, tint = rng.uniform(4.5, 16.0), facade(rng)
    half = (length / 2, depth / 2, height / 2)
    plan.box((0, 0, height / 2), half, material, tint)
    if rng.random() < 0.5:
        top = (length * rng.uniform(0.2, 0.35), depth * 0.35, rng.uniform(1.0, 2.5))
        shift = rng.uniform(-0.12, 0.12) * length
        plan.box((shift, 0, height + top[2]), top, material, tint * 0.9)
    if rng.random() < 0.4:  # a lower wing
        plan.box(
            (length * 0.3, 0, 1.6), (length * 0.2, depth * 0.5 + 0.8, 1.6), "brick", facade(rng)
        )
    return plan.finish()


def wall(rng: Rng, length: float) -> Blueprint:
    """A low wall or a plank fence along the street."""
    plan = Blueprint("manmade", rng)
    half = (length / 2, rng.uniform(0.06, 0.2), rng.uniform(0.35, 0.95))
    material = "wall" if rng.random() < 0.5 else "fence"
    plan.box((0, 0, half[2]), half, material, facade(rng))
    return plan.finish()


def pole(rng: Rng) -> Blueprint:
    """A street lamp, a traffic sign on its post, or a bare bollard."""
    plan = Blueprint("manmade", rng)
    tint, style = paint(rng), int(rng.integers(3))
    radius = rng.uniform(0.05, 0.11)
    height = (rng.uniform(5.0, 7.5), rng.uniform(2.2, 2.8), rng.uniform(0.8, 1.1))[style]
    plan.pillar((0, 0, height / 2), (radius, radius, height / 2), "metal_pole", tint)
    if style == 0:
        plan.box((0, 0.9, height + 0.06), (0.16, 1.0, 0.06), "metal_pole", tint)
    elif style == 1:
        half = rng.uniform(0.25, 0.40)
        plan.box((-0.1, 0, height - half), (0.02, half, half), "sign", paint(rng))
    return plan.finish()


def cabinet(rng: Rng) -> Blueprint:
    """A box on the pavement: switch cabinet, bin, bench or kiosk, person- or car-sized."""
    plan = Blueprint("manmade", rng)
    style = int(rng.integers(4))
    if style == 0:
        half = (rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.4), rng.uniform(0.4, 0.85))
        plan.box((0, 0, half[2]), half, "fence", paint(rng))
    elif style == 1:
        plan.pillar((0, 0, 0.5), (0.28, 0.28, 0.5), "metal_pole", paint(rng))
    elif style == 2:
        plan.box((0, 0, 0.42), (0.9, 0.24, 0.05), "fence", paint(rng))
        plan.box((0, -0.22, 0.7), (0.9, 0.04, 0.26), "fence", paint(rng))
        plan.box((-0.7, 0, 0.2), (0.05, 0.2, 0.2), "metal_pole", np.full(3, 0.3))
        plan.box((0.7, 0, 0.2), (0.05, 0.2, 0.2), "metal_pole", np.full(3, 0.3))
    else:
        plan.box((0, 0, 1.15), (rng.uniform(0.9, 1.6), 0.8, 1.15), "fence", paint(rng))
        plan.box((0, 0, 2.38), (1.7, 1.0, 0.08), "metal_pole", paint(rng))
    return plan.finish()


def _plant(rng: Rng) -> np.ndarray:
    if rng.random() < 0.15:  # blossom and autumn leaves: any colour, washed out
        return facade(rng)
    return np.clip(PLANTS[rng.integers(len(PLANTS))] * rng.uniform(0.8, 1.3), 0.04, 0.9)


def tree(rng: Rng) -> Blueprint:
    """A broad-leaved tree, or a conifer whose needles start lower."""
    plan = Blueprint("vegetation", rng)
    bark = np.array([0.34, 0.27, 0.21]) * rng.uniform(0.7, 1.5)
    leaf = _plant(rng)
    radius, trunk = rng.uniform(0.10, 0.24), rng.uniform(2.3, 3.4)
    plan.pillar((0, 0, trunk / 2 + 0.5), (radius, radius, trunk / 2 + 0.5), "bark", bark)
    if rng.random() < 0.3:
        for k in range(3):
            wide = 1.5 - 0.4 * k
            plan.blob((0, 0, trunk + 1.0 + 1.3 * k), (wide, wide, 1.1), "leaf", leaf)
        return plan.finish()
    for _ in range(3):
        half = rng.uniform(1.0, 1.9, 3)
        centre = (*rng.uniform(-0.6, 0.6, 2), trunk + half[2] * rng.uniform(0.75, 1.2))
        plan.blob(centre, tuple(half), "leaf", leaf * rng.uniform(0.85, 1.15))
    return plan.finish()


def bush(rng: Rng) -> Blueprint:
    """Two or three low clumps."""
    plan = Blueprint("vegetation", rng)
    leaf = _plant(rng)
    for _ in range(int(rng.integers(2, 4))):
        half = rng.uniform(0.30, 0.65, 3)
        plan.blob((*rng.uniform(-0.35, 0.35, 2), half[2] * 0.8), tuple(half), "leaf", leaf)
    return plan.finish()


def hedge(rng: Rng, length: float) -> Blueprint:
    """A clipped hedge: the height and outline of a wall, the surface of leaves."""
    plan = Blueprint("vegetation", rng)
    half = (length / 2, rng.uniform(0.25, 0.45), rng.uniform(0.35, 0.95))
    plan.box((0, 0, half[2]), half, "leaf", _plant(rng))
    return plan.finish()
