# SPDX-License-Identifier: Apache-2.0
"""Compose a street scene from a seed: bands of ground, traffic, people, plants, buildings, light.

Things stand in strips (lanes, cycle strip, parking strip, furniture strip, footpaths, green, yards)
and all that moves in one strip moves at one speed, so nothing ever collides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidistill.world import people, street, vehicles
from lidistill.world.blueprint import Blueprint
from lidistill.world.ground import Band, Ground, Patch
from lidistill.world.light import draw_light
from lidistill.world.materials import EARTH, INDEX, MATERIALS, PLANTS
from lidistill.world.scene import EgoPath, Scene, Thing

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


class Composer:
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

    # ---- carriageway -------------------------------------------------------------------------

    def traffic(self) -> None:
        """Vehicles in every lane; the ego's own lane keeps its speed and a free stretch."""
        for side in (-1.0, 1.0):
            for lane in range(self.street.lanes):
                own = side < 0 and lane == self.street.lanes - 1
                speed = self.ego_speed if own else float(self.rng.uniform(4.0, 10.0))
                drift = speed * self.duration * (1.0 if side < 0 else -1.0)
                x = self.extent[0] - max(drift, 0.0)
                end = self.extent[1] - min(drift, 0.0)
                while x < end:
                    plan = self._driving()
                    x += plan.size[0] / 2
                    if not own or abs(x) > 9.0 + plan.size[0] / 2:
                        y = side * self.street.lane(lane) + self.rng.normal(0.0, 0.12)
                        self.put(plan, x, y, self.heading(side), speed)
                    x += plan.size[0] / 2 + self.rng.uniform(*self.profile.traffic_gap)

    def _driving(self) -> Blueprint:
        names = ["car", "van", "truck", "bus", "motorcyclist", "tram"]
        share = np.array([0.64, 0.08, 0.06, 0.04, 0.18, 0.03 if self.profile.tram else 0.0])
        return self._vehicle(names[self.rng.choice(len(names), p=share / share.sum())])

    def _vehicle(self, name: str) -> Blueprint:
        rng = self.rng
        if name in ("car", "van"):
            return vehicles.car(rng, name)
        if name in ("bus", "tram"):
            return vehicles.bus(rng, name)
        if name in ("motorcycle", "motorcyclist"):
            return people.motorcycle(rng, name == "motorcyclist")
        if name in ("bicycle", "cyclist"):
            return people.bicycle(rng, name == "cyclist")
        makers = {
            "truck": vehicles.truck,
            "trailer": vehicles.trailer,
            "construction": vehicles.construction,
        }
        return makers[name](rng)

    def cyclists(self) -> None:
        """Riders in the cycle strips, one speed a side."""
        for side in (-1.0, 1.0):
            speed = float(self.rng.uniform(3.5, 6.0))
            x = self.near[0] - 25.0
            while x < self.near[1] + 30.0:
                x += 3.0 + self.rng.exponential(100.0 / self.profile.cyclists)
                plan = self._vehicle("cyclist" if self.rng.random() < 0.68 else "motorcyclist")
                y = side * (self.street.half - PARKING - CYCLE / 2 + self.rng.normal(0, 0.06))
                self.put(plan, x, y, self.heading(side), speed)

    def parking(self) -> None:
        """Parked vehicles and roadworks along both kerbs; rare classes first, near the path."""
        rare = ["truck", "bus", "trailer", "construction"] if self.profile.all_classes else []
        for side in (-1.0, 1.0):
            wanted = list(self.rng.permutation(rare))
            places = np.sort(self.rng.uniform(2.0, self.near[1] - 6.0, len(wanted)))
            x = self.extent[0]
            while x < self.extent[1]:
                if len(wanted) and x > places[len(places) - len(wanted)]:
                    name = str(wanted.pop(0))
                else:
                    name = self._parked_name()
                x = self._park(name, side, x)

    def _parked_name(self) -> str:
        if self.rng.random() > self.profile.parked:
            return ""
        names = ["car", "van", "truck", "trailer", "motorcycle", "bicycle", "works"]
        share = [0.58, 0.07, 0.02, 0.03, 0.12, 0.07, 0.11]
        return names[self.rng.choice(len(names), p=share)]

    def _park(self, name: str, side: float, x: float) -> float:
        """Fill the slot that begins at x; returns where the next one begins."""
        rng, y = self.rng, side * (self.street.half - PARKING / 2)
        if name == "":
            return self._gap(side, x)
        if name == "works":
            return self._roadworks(side, x)
        if name in ("motorcycle", "bicycle"):
            for _ in range(int(rng.integers(2, 5))):
                x += rng.uniform(1.3, 1.8)
                if self.free(x, 1.2):
                    self.put(self._vehicle(name), x, y, side * np.pi / 2 + rng.normal(0, 0.05))
            return x + 1.6
        plan = self._vehicle(name)
        middle = x + plan.size[0] / 2
        if not self.free(middle, plan.size[0] / 2):
            return x + 2.0
        flip = np.pi if rng.random() < 0.15 else 0.0
        self.put(plan, middle, y, self.heading(side) + flip + rng.normal(0.0, 0.015))
        self.things[-1].parked = True
        if name == "construction":
            return self._roadworks(side, x + plan.size[0] + 0.8)
        return x + plan.size[0] + rng.uniform(0.7, 2.2)

    def _gap(self, side: float, x: float) -> float:
        """An empty slot, often with people who cross between the parked cars or a few cones."""
        rng, length = self.rng, float(self.rng.uniform(4.0, 7.0))
        y = self.street.half - PARKING / 2
        inside = self.near[0] < x < self.near[1] and self.free(x + length / 2, length / 2)
        if inside and rng.random() < 0.75:
            for spot in np.arange(x + 0.6, x + length - 0.5, 1.1):
                if rng.random() < 0.6:
                    self._standing(spot, side * (y + rng.uniform(-0.7, 0.7)), side)
        elif inside:
            for spot in np.arange(x + 0.5, x + length - 0.5, 1.3):
                self.put(street.cone(rng), spot, side * (y - rng.uniform(0.3, 0.9)), 0.0)
        return x + length

    def _roadworks(self, side: float, x: float) -> float:
        """Barriers in a row, cones and a worker in the parking strip."""
        rng, y = self.rng, side * (self.street.half - PARKING / 2)
        for _ in range(int(rng.integers(2, 5))):
            plan = street.barrier(rng)
            x += plan.size[1] / 2
            if self.free(x, 1.4):
                self.put(plan, x, y - side * 0.75, np.pi / 2 + rng.normal(0.0, 0.04))
                if rng.random() < 0.5:
                    worker = people.pedestrian(rng, "worker")
                    self.put(worker, x, y + side * 0.5, rng.uniform(-np.pi, np.pi))
            x += plan.size[1] / 2 + rng.uniform(0.1, 0.5)
        for _ in range(int(rng.integers(3, 7))):
            x += rng.uniform(0.9, 1.8)
            if self.free(x, 0.4):
                self.put(
                    street.cone(rng), x, y - side * rng.uniform(0.0, 0.9), rng.uniform(0, 6.28)
                )
        return x + 1.5

    def side_streets(self) -> None:
        """Vehicles that wait at the side streets, across the ego's heading."""
        for x in self.crossings:
            for side in (-1.0, 1.0):
                y = self.street.half + self.street.path + self.rng.uniform(0.6, 2.0)
                for _ in range(int(self.rng.integers(0, 4))):
                    names, share = (
                        ["car", "motorcyclist", "cyclist", "truck"],
                        [0.6, 0.15, 0.15, 0.1],
                    )
                    plan = self._vehicle(names[self.rng.choice(4, p=share)])
                    y += plan.size[0] / 2
                    self.put(plan, x + side * 1.75, side * y, -side * np.pi / 2)
                    y += plan.size[0] / 2 + self.rng.uniform(1.5, 5.0)

    # ---- beside the carriageway --------------------------------------------------------------

    def pedestrians(self) -> None:
        """Walkers on two footpath lanes a side, and groups that stand between them and the green."""
        rng, s = self.rng, self.street
        for side in (-1.0, 1.0):
            for lane, offset in ((0, 1.62), (1, 2.55)):
                speed = float(rng.uniform(1.0, 1.5))
                yaw = 0.0 if (lane == 0) == (side < 0) else np.pi
                x = self.near[0] - 10.0
                while x < self.near[1] + 15.0:
                    x += 1.3 + rng.exponential(100.0 / (0.3 * self.profile.pedestrians))
                    kind = "child" if rng.random() < 0.12 else "pedestrian"
                    plan = people.pedestrian(rng, kind, rng.uniform(0.25, 0.5))
                    self.put(plan, x, side * (s.half + offset), yaw + rng.normal(0, 0.004), speed)
            x = self.near[0]
            while x < self.near[1]:
                x += 1.0 + rng.exponential(250.0 / (0.4 * self.profile.pedestrians))
                for _ in range(int(rng.integers(1, 4))):
                    x += rng.uniform(0.95, 1.2)
                    if self.free(x, 0.5):
                        self._standing(x, side * (s.half + s.path - 0.62), side)

    def _standing(self, x: float, y: float, side: float) -> None:
        rng = self.rng
        if rng.random() < 0.12:
            self.put(people.sitting(rng), x, y, -side * np.pi / 2)
            return
        kind = "child" if rng.random() < 0.12 else "pedestrian"
        self.put(people.pedestrian(rng, kind), x, y, rng.uniform(-np.pi, np.pi))

    def furniture(self) -> None:
        """Poles, cabinets, parked bicycles and cones along the kerb."""
        rng, s = self.rng, self.street
        names = ["pole", "cabinet", "bicycle", "motorcycle", "cone"]
        for side in (-1.0, 1.0):
            x = self.extent[0]
            while x < self.extent[1]:
                x += rng.uniform(2.7, 6.0)
                name = names[rng.choice(5, p=[0.40, 0.16, 0.22, 0.16, 0.06])]
                if not self.free(x, 1.2):
                    continue
                y = side * (s.half + 0.65)
                if name == "pole":
                    self.put(street.pole(rng), x, y, 0.0 if side < 0 else np.pi)
                elif name == "cabinet":
                    self.put(
                        street.cabinet(rng), x, side * (s.half + s.path + 0.8), rng.normal(0, 0.1)
                    )
                elif name == "cone":
                    self.put(street.cone(rng), x, y, rng.uniform(0, 6.28))
                elif self.near[0] < x < self.near[1]:
                    self.put(
                        self._vehicle(name), x, y, rng.choice([0.0, np.pi]) + rng.normal(0, 0.04)
                    )

    def green(self) -> None:
        """Trees, bushes, hedges, walls, and buildings behind them."""
        rng, s = self.rng, self.street
        for side in (-1.0, 1.0):
            x = self.extent[0]
            while x < self.extent[1]:
                x += rng.exponential(100.0 / self.profile.trees) + 1.5
                if self.free(x, 1.5):
                    plan = street.tree(rng) if rng.random() < 0.6 else street.bush(rng)
                    y = s.half + s.path + rng.uniform(0.45, 0.75) * s.green
                    self.put(plan, x, side * y, rng.uniform(-np.pi, np.pi))
            self._row_of_walls(side)
            self._row_of_buildings(side)

    def _row_of_walls(self, side: float) -> None:
        rng, s = self.rng, self.street
        x = self.extent[0]
        while x < self.extent[1]:
            length = rng.uniform(4.0, 12.0)
            x += length / 2
            if rng.random() < 0.7 and self.free(x, length / 2):
                plan = street.wall(rng, length) if rng.random() < 0.5 else street.hedge(rng, length)
                self.put(plan, x, side * (s.half + s.path + s.green), 0.0)
            x += length / 2 + rng.uniform(0.5, 5.0)

    def _row_of_buildings(self, side: float) -> None:
        rng, s = self.rng, self.street
        x = self.extent[0]
        while x < self.extent[1]:
            length, depth = rng.uniform(8.0, 22.0), rng.uniform(8.0, 14.0)
            x += length / 2
            if self.free(x, length / 2) and rng.random() < 0.85:
                y = s.half + s.path + s.green + 1.8 + rng.uniform(0.0, 4.0) + depth / 2
                plan = street.building(rng, length, depth)
                self.put(plan, x, side * y, 0.0 if side < 0 else np.pi)
            elif self.free(x, 2.0):
                for shift in (-3.0, 2.0):
                    y = s.half + s.path + s.green + rng.uniform(4.0, 9.0)
                    self.put(street.tree(rng), x + shift, side * y, 0.0)
            x += length / 2 + rng.uniform(0.5, 6.0)

    # ---- ground ------------------------------------------------------------------------------

    def ground(self) -> Ground:
        """Bands from the middle of the street outwards, and side streets across them."""
        rng, s = self.rng, self.street
        inner = [s.half, s.half + 0.25, s.half + s.path, s.half + s.path + s.green]
        right = ["road", "kerb", "sidewalk", str(rng.choice(["grass", "gravel"])), "grass"]
        left = ["road", "kerb", "sidewalk", str(rng.choice(["grass", "gravel"])), "grass"]
        height = [0.0, s.kerb, s.kerb, s.kerb, s.kerb]
        bands: list[Band] = []
        for k in range(4, 0, -1):
            bands.append((-inner[k - 1], INDEX[right[k]], height[k]))
        if s.median > 0.0:
            bands.append((-s.median, INDEX["road"], 0.0))
            bands.append((s.median, INDEX["gravel"], s.kerb))
        bands.append((inner[0], INDEX["road"], 0.0))
        for k in range(1, 5):
            bands.append((inner[k] if k < 4 else np.inf, INDEX[left[k]], height[k]))
        patches: list[Patch] = []
        for _ in range(3):  # gravel lots in the green, so that no scene lacks the class
            x, side = rng.uniform(self.near[0], self.near[1]), rng.choice([-1.0, 1.0])
            y0, y1 = sorted((side * inner[2], side * (inner[3] + 6.0)))
            patches.append((x, x + rng.uniform(6, 14), y0, y1, INDEX["gravel"], s.kerb))
        for x in self.crossings:
            x0, x1 = x - CROSSING / 2, x + CROSSING / 2
            patches.append((x0, x1, inner[0] - 0.01, 70.0, INDEX["road"], 0.0))
            patches.append((x0, x1, -70.0, 0.01 - inner[0], INDEX["road"], 0.0))
            if s.median > 0.0:
                patches.append((x0, x1, -s.median - 0.01, s.median + 0.01, INDEX["road"], 0.0))
        return Ground.build(bands, patches)

    def marks(self) -> np.ndarray:
        """Painted lines: (K, 6) y, half width, dash period, dash length, x0, x1."""
        s, far = self.street, 1e4
        rows = []
        if s.median == 0.0:
            rows.append((0.0, 0.07, 6.0, 3.0, -far, far))
        for side in (-1.0, 1.0):
            for lane in range(1, s.lanes):
                rows.append((side * (s.median + LANE * lane), 0.06, 9.0, 3.0, -far, far))
            rows.append((side * (s.half - PARKING - CYCLE), 0.06, 0.0, 0.0, -far, far))
            rows.append((side * (s.half - PARKING), 0.06, 2.0, 1.0, -far, far))
        for x in self.crossings:
            for y in np.arange(-s.half + 0.6, s.half - 0.3, 1.1):
                rows.append((y, 0.28, 0.0, 0.0, x - CROSSING / 2 - 4.0, x - CROSSING / 2 - 1.0))
        return np.array(rows)


def ego_body(rng: np.random.Generator) -> Blueprint:
    """The ego's roof, bonnet and rack as the LiDAR sees them."""
    plan = Blueprint("ego", rng)
    tint = np.full(3, 0.8)
    plan.box((0.0, 0, 0.0), (2.35, 0.90, 0.95), "ego", tint)
    plan.box((-0.05, 0, 1.27), (0.90, 0.74, 0.32), "ego", tint, (0.5, 0.3, 0.15))
    plan.finish()
    plan.prim[:, 0] += 0.95  # the rear axle is the ego's origin, its middle lies before it
    return plan


def _ground_tints(rng: np.random.Generator) -> np.ndarray:
    """(M, 3): road, pavement and gravel share grey earths; grass runs from green to straw."""
    tints = np.full((len(MATERIALS), 3), 0.4)
    for name in ("road", "sidewalk", "kerb", "gravel"):
        tints[INDEX[name]] = EARTH[rng.integers(len(EARTH))] * rng.uniform(0.8, 1.25)
    tints[INDEX["grass"]] = PLANTS[rng.integers(len(PLANTS))] * rng.uniform(0.85, 1.25)
    return np.clip(tints, 0.05, 0.9)


def compose(name: str, seed: tuple[int, ...], duration: float, profile: Profile) -> Scene:
    """Make the scene of a name and seed.

    Args:
        name: scene name.
        seed: entropy of the scene's generator, for instance (world seed, scene number).
        duration: seconds the ego drives; the street is as long as it needs.
        profile: densities.
    """
    rng = np.random.default_rng([*seed, 1])
    maker = Composer(rng, duration, profile)
    for step in ("traffic", "cyclists", "parking", "side_streets", "pedestrians", "furniture"):
        getattr(maker, step)()
    maker.green()
    light, weather = draw_light(rng)
    ego = EgoPath(
        maker.ego_speed,
        -maker.street.lane(maker.street.lanes - 1),
        float(rng.uniform(0.05, 0.25)),
        float(rng.uniform(0.2, 0.6)),
        float(rng.uniform(0.0, 6.28)),
    )
    return Scene(
        name,
        f"synthetic, seed {seed[0]}, {weather}",
        maker.things,
        maker.ground(),
        maker.marks(),
        _ground_tints(rng),
        light,
        ego,
        ego_body(rng),
        int(rng.integers(1 << 30)),
    )
