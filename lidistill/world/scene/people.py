# SPDX-License-Identifier: Apache-2.0
"""Blueprints of people and of two-wheelers, with and without riders."""

from __future__ import annotations

import numpy as np

from lidistill.world.materials import SKINS
from lidistill.world.scene.blueprint import Blueprint
from lidistill.world.scene.vehicles import Rng, paint


def pedestrian(rng: Rng, kind: str = "pedestrian", stride: float = 0.0) -> Blueprint:
    """A standing or walking person; ``stride`` metres between the feet; kinds child, worker too."""
    plan = Blueprint(kind, rng)
    height = rng.uniform(1.05, 1.40) if kind == "child" else rng.uniform(1.56, 1.92)
    s = height / 1.75
    wide = rng.uniform(0.90, 1.15)
    legs, top, skin = paint(rng), paint(rng), SKINS[rng.integers(3)]
    half = stride / 2
    for side in (-1.0, 1.0):
        leg = (side * half, side * 0.10 * s, 0.42 * s)
        plan.pillar(leg, (0.085 * s, 0.085 * s, 0.42 * s), "trousers", legs)
        arm = (-side * 0.6 * half, side * 0.27 * s * wide, 1.14 * s)
        plan.pillar(arm, (0.06 * s, 0.06 * s, 0.30 * s), "cloth", top)
    plan.pillar((0, 0, 1.13 * s), (0.14 * s * wide, 0.21 * s * wide, 0.32 * s), "cloth", top)
    plan.blob((0.02, 0, 1.60 * s), (0.11 * s, 0.09 * s, 0.15 * s), "skin", skin)
    if kind == "worker":  # helmet
        plan.pillar((0.02, 0, 1.74 * s), (0.15 * s, 0.13 * s, 0.05 * s), "cone", paint(rng))
    elif rng.random() < 0.35:  # bag on the back
        bag = (-0.22 * s, 0, 1.18 * s)
        plan.box(bag, (0.09 * s, 0.15 * s, 0.22 * s), "cloth", paint(rng))
    return plan.finish()


def sitting(rng: Rng) -> Blueprint:
    """A person who sits on a low box."""
    plan = Blueprint("sitting", rng)
    legs, top, skin = paint(rng), paint(rng), SKINS[rng.integers(3)]
    for side in (-1.0, 1.0):
        plan.pillar((0.36, side * 0.10, 0.23), (0.08, 0.08, 0.23), "trousers", legs)
        plan.box((0.16, side * 0.10, 0.50), (0.26, 0.08, 0.07), "trousers", legs)
    plan.pillar((-0.05, 0, 0.82), (0.14, 0.21, 0.30), "cloth", top)
    plan.blob((-0.02, 0, 1.26), (0.11, 0.09, 0.15), "skin", skin)
    return plan.finish()


def _rider(plan: Blueprint, rng: Rng, seat: float, lean: float) -> None:
    legs, top = paint(rng), paint(rng)
    for side in (-1.0, 1.0):
        plan.pillar((0.10, side * 0.14, seat - 0.18), (0.08, 0.07, 0.34), "trousers", legs)
        plan.box((0.30 + lean, side * 0.22, seat + 0.42), (0.24, 0.05, 0.05), "cloth", top)
    plan.pillar((lean, 0, seat + 0.36), (0.16, 0.20, 0.32), "cloth", top)
    plan.blob((lean + 0.08, 0, seat + 0.86), (0.13, 0.11, 0.15), "skin", SKINS[rng.integers(3)])


def bicycle(rng: Rng, rider: bool) -> Blueprint:
    """A bicycle; ``cyclist`` with its rider."""
    plan = Blueprint("cyclist" if rider else "bicycle", rng)
    tint = paint(rng)
    radius, base = rng.uniform(0.31, 0.36), rng.uniform(0.50, 0.58)
    for x in (-base, base):
        plan.wheel(x, 0.0, radius, 0.03)
    plan.box((0.0, 0, radius + 0.14), (base * 0.8, 0.035, 0.06), "frame", tint)
    plan.box((-0.18, 0, radius + 0.32), (0.03, 0.03, 0.30), "frame", tint)
    plan.box((base - 0.08, 0, radius + 0.36), (0.04, 0.03, 0.34), "frame", tint)
    plan.box((base - 0.14, 0, radius + 0.70), (0.05, 0.29, 0.03), "frame", tint)
    plan.box((-0.20, 0, radius + 0.62), (0.13, 0.07, 0.035), "frame", np.full(3, 0.15))
    if rng.random() < 0.4:  # basket
        plan.box((base + 0.08, 0, radius + 0.55), (0.14, 0.17, 0.12), "fence", paint(rng))
    if rider:
        _rider(plan, rng, radius + 0.64, 0.02)
    return plan.finish()


def motorcycle(rng: Rng, rider: bool) -> Blueprint:
    """A motorcycle or scooter; ``motorcyclist`` with its rider."""
    plan = Blueprint("motorcyclist" if rider else "motorcycle", rng)
    tint = paint(rng)
    base = rng.uniform(0.64, 0.76)
    for x in (-base, base):
        plan.wheel(x, 0.0, 0.31, 0.085)
    plan.box((-0.02, 0, 0.46), (0.40, 0.17, 0.20), "motor", np.full(3, 0.32))
    plan.blob((0.16, 0, 0.80), (0.30, 0.17, 0.17), "motor", tint)
    plan.box((-0.45, 0, 0.78), (0.36, 0.15, 0.09), "motor", tint * 0.6)
    plan.box((base - 0.16, 0, 0.66), (0.09, 0.10, 0.36), "motor", tint, (0.3, 0, 0))
    plan.box((base - 0.26, 0, 1.03), (0.06, 0.37, 0.04), "metal_pole", np.full(3, 0.2))
    plan.box((base - 0.10, 0, 0.98), (0.09, 0.14, 0.15), "sign", np.full(3, 0.85))  # lamp, in front
    if rng.random() < 0.4:  # top box, behind
        plan.box((-base - 0.02, 0, 1.02), (0.19, 0.20, 0.17), "motor", tint)
    if rider:
        _rider(plan, rng, 0.86, -0.10)
    return plan.finish()
