# SPDX-License-Identifier: Apache-2.0
"""Blueprints of vehicles. Fronts (+x) differ from rears in shape as well as in texture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidistill.world.materials import PAINTS
from lidistill.world.scene.blueprint import Blueprint

Rng = np.random.Generator


def paint(rng: Rng) -> NDArray[np.float64]:
    """A colour of the shared palette with its own brightness and a slight cast."""
    tint = PAINTS[rng.integers(len(PAINTS))] * rng.uniform(0.8, 1.15)
    return np.clip(tint + rng.normal(0.0, 0.02, 3), 0.04, 0.95)


def _axles(plan: Blueprint, xs: list[float], half_width: float, radius: float) -> None:
    for x in xs:
        for side in (-1.0, 1.0):
            plan.wheel(x, side * (half_width - 0.12), radius, 0.11)


def car(rng: Rng, kind: str = "car") -> Blueprint:
    """A sedan, hatchback or sport-utility car; or, as ``van``, a tall one-box van."""
    plan = Blueprint(kind, rng)
    body = paint(rng)
    style = 3 if kind == "van" else int(rng.integers(3))
    length = rng.uniform(*((4.3, 4.9), (3.6, 4.2), (4.3, 4.8), (4.6, 5.4))[style])
    width = rng.uniform(*((1.62, 1.76), (1.56, 1.68), (1.70, 1.84), (1.78, 1.94))[style])
    height = rng.uniform(*((1.40, 1.50), (1.44, 1.56), (1.62, 1.80), (1.95, 2.3))[style])
    a, b = length / 2, width / 2
    belt = height * (0.60 if style < 3 else 0.52)
    floor = 0.22
    plan.box(
        (0, 0, (belt + floor) / 2), (a, b, (belt - floor) / 2), "car_body", body, (0.22, 0.06, 0.05)
    )
    bonnet = (0.27, 0.22, 0.24, 0.12)[style] * length
    boot = (0.17, 0.03, 0.02, 0.01)[style] * length
    cabin = (length - bonnet - boot) / 2
    slopes = ((0.95, 0.75, 0.22), (0.85, 0.35, 0.2), (0.7, 0.2, 0.16), (0.6, 0.05, 0.08))[style]
    centre = (-a + boot + cabin, 0.0, (belt + height) / 2)
    plan.box(centre, (cabin, b * 0.94, (height - belt) / 2), "car_cabin", body, slopes)
    _axles(plan, [-0.60 * a, 0.62 * a], b, rng.uniform(0.30, 0.36))
    for side in (-1.0, 1.0):  # mirrors stand near the windscreen: a cue for the heading
        mirror = (a - bonnet - 0.25, side * (b + 0.05), belt + 0.05)
        plan.box(mirror, (0.07, 0.07, 0.07), "car_body", body)
    return plan.finish()


def truck(rng: Rng) -> Blueprint:
    """A cab and a higher cargo box on six wheels."""
    plan = Blueprint("truck", rng)
    cab, cargo = paint(rng), paint(rng)
    length, b = rng.uniform(6.2, 9.0), rng.uniform(1.12, 1.27)
    height = rng.uniform(2.7, 3.7)
    cab_length, cab_top = rng.uniform(1.7, 2.1), rng.uniform(2.2, 2.7)
    front = length / 2
    middle = front - cab_length / 2
    plan.box((middle, 0, 0.95), (cab_length / 2, b * 0.96, 0.50), "truck_cab", cab)
    upper = (middle - 0.08, 0.0, (1.45 + cab_top) / 2)
    plan.box(
        upper,
        (cab_length / 2 - 0.08, b * 0.94, (cab_top - 1.45) / 2),
        "car_cabin",
        cab,
        (0.28, 0, 0.05),
    )
    box = (length - cab_length - 0.35) / 2
    plan.box(
        (-front + box, 0, (0.95 + height) / 2), (box, b, (height - 0.95) / 2), "truck_box", cargo
    )
    plan.box((-0.3, 0, 0.75), (front - 0.4, 0.45, 0.15), "metal_pole", np.full(3, 0.2))
    _axles(plan, [front - 0.9, -front + 1.2, -front + 2.2], b, 0.46)
    return plan.finish()


def bus(rng: Rng, kind: str = "bus") -> Blueprint:
    """A city bus with a band of windows; as ``tram``, two coupled cars."""
    plan = Blueprint(kind, rng)
    body = paint(rng)
    cars = 2 if kind == "tram" else 1
    length, b, height = rng.uniform(8.5, 11.5), rng.uniform(1.16, 1.27), rng.uniform(2.9, 3.4)
    for k in range(cars):
        shift = -k * (length + 0.4)
        half = (length / 2, b, (height - 0.35) / 2)
        plan.box((shift, 0, (height + 0.35) / 2), half, "bus_body", body, (0.10, 0.02, 0.01))
        plan.box((shift - 0.8, 0, height + 0.12), (1.3, 0.7, 0.12), "bus_body", body)
        _axles(plan, [shift + 0.32 * length, shift - 0.28 * length], b, 0.46)
    for side in (-1.0, 1.0):
        arm = (length / 2 + 0.12, side * (b - 0.12), height - 0.9)
        plan.box(arm, (0.10, 0.12, 0.22), "metal_pole", np.full(3, 0.15))
    return plan.finish()


def trailer(rng: Rng) -> Blueprint:
    """A box trailer with its axles at the rear, a landing leg and a drawbar in front."""
    plan = Blueprint("trailer", rng)
    length, b, height = rng.uniform(6.5, 10.5), rng.uniform(1.15, 1.27), rng.uniform(2.9, 3.8)
    tint = paint(rng)
    plan.box((0, 0, (1.15 + height) / 2), (length / 2, b, (height - 1.15) / 2), "trailer_box", tint)
    plan.box((length / 2 + 0.6, 0, 0.95), (0.65, 0.12, 0.08), "metal_pole", np.full(3, 0.2))
    plan.box((0.36 * length, 0, 0.58), (0.12, 0.7, 0.56), "metal_pole", np.full(3, 0.25))
    plan.box((-0.1 * length, 0, 1.0), (0.36 * length, 0.5, 0.12), "metal_pole", np.full(3, 0.2))
    _axles(plan, [-0.30 * length, -0.30 * length - 1.1], b, 0.46)
    return plan.finish()


def construction(rng: Rng) -> Blueprint:
    """An excavator with boom and bucket, or a wheel loader with a wide front bucket."""
    plan = Blueprint("construction", rng)
    tint = paint(rng)
    b = rng.uniform(0.98, 1.15)
    if rng.random() < 0.5:  # excavator
        for side in (-1.0, 1.0):
            track = (0.0, side * (b - 0.25), 0.42)
            plan.box(track, (1.75, 0.25, 0.42), "rubber", np.full(3, 0.2), (0.5, 0.5, 0))
        plan.box((-0.45, 0, 1.35), (1.35, b * 0.92, 0.48), "machine", tint)
        plan.box((0.45, 0.5, 2.25), (0.65, 0.45, 0.75), "car_cabin", tint, (0.12, 0, 0))
        plan.box((1.25, -0.25, 2.3), (0.30, 0.2, 0.9), "machine", tint)
        plan.box((2.5, -0.25, 3.05), (1.5, 0.18, 0.22), "machine", tint)
        plan.box((3.85, -0.25, 2.1), (0.18, 0.16, 0.95), "machine", tint)
        plan.box((3.75, -0.25, 0.85), (0.40, 0.5, 0.35), "machine", tint * 0.6, (0.4, 0, 0))
        return plan.finish()
    plan.box((-1.0, 0, 1.25), (1.35, b * 0.8, 0.55), "machine", tint, (0, 0.15, 0))
    plan.box((0.0, 0, 2.3), (0.62, 0.62, 0.75), "car_cabin", tint, (0.1, 0.1, 0.05))
    plan.box((1.35, 0, 1.0), (1.0, 0.45, 0.30), "machine", tint)
    plan.box((2.85, 0, 0.70), (0.50, b + 0.1, 0.48), "machine", tint * 0.6, (0.5, 0.1, 0))
    _axles(plan, [-1.35, 1.05], b + 0.1, 0.68)
    return plan.finish()
