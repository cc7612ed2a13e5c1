# SPDX-License-Identifier: Apache-2.0
"""The building site of a scene: widths of its strips, side streets, and what stands there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidistill.world.scene.blueprint import Blueprint
from lidistill.world.scene.scene import Thing

LANE, CYCLE, PARKING, CROSSING = 3.5, 1.5, 2.6, 7.5


@dataclass(frozen=True)
class Profile:
    """How busy a scene is; densities per 100 m and side."""

    pedestrians: float = 24.0
    cyclists: float = 4.5
    parked: float = 0.76  # share of parking slots taken
    traffic_gap: tuple[float, float] = (13.0, 32.0)
    all_classes: bool = True  # one of every detection class near the ego's path
    trees: float = 11.0
    tram: bool = False


@dataclass(frozen=True)
class Street:
    """Widths and heights of a scene's strips, metres from the middle of the street."""

    median: float
    lanes: int
    path: float
    green: float
    kerb: float

    @property
    def half(self) -> float:
        """Half the width of the carriageway with its parking strips."""
        return self.median + LANE * self.lanes + CYCLE + PARKING

    def lane(self, number: int) -> float:
        """Distance of a lane's middle from the middle of the street."""
        return self.median + LANE * (number + 0.5)


class Site:
    """Fills one street with things; everything is drawn from one generator."""

    def __init__(self, rng: np.random.Generator, duration: float, profile: Profile) -> None:
        self.rng = rng
        self.profile = profile
        self.things: list[Thing] = []
        self.ego_speed = float(rng.uniform(5.0, 9.0))
        travel = self.ego_speed * duration
        self.near = (-18.0, travel + 30.0)  # where rare classes and people stand
        self.extent = (-60.0, travel + 85.0)
        self.duration = duration
        self.street = Street(
            median=float(rng.choice([0.0, 0.7, 1.1])),
            lanes=int(rng.choice([1, 1, 2])),
            path=float(rng.uniform(4.2, 5.2)),
            green=float(rng.uniform(2.2, 4.5)),
            kerb=float(rng.uniform(0.05, 0.20)),
        )
        first = rng.uniform(18.0, 34.0)
        crossings = np.arange(first, self.extent[1], rng.uniform(60.0, 85.0))
        self.crossings = np.round(crossings * 4) / 4  # on the ground's grid

    def free(self, x: float, reach: float) -> bool:
        """Whether a thing of this half length at x keeps clear of the side streets."""
        return not np.any(np.abs(self.crossings - x) < CROSSING / 2 + 1.0 + reach)

    def put(
        self, plan: Blueprint, x: float, y: float, yaw: float, speed: float = 0.0, turn: float = 0.0
    ) -> None:
        """Place a thing."""
        self.things.append(Thing(plan, float(x), float(y), float(yaw), speed, turn))

    def heading(self, side: float) -> float:
        """Driving direction on a side of the street: right-hand traffic, the ego along +x."""
        return 0.0 if side < 0 else np.pi
