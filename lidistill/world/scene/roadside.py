# SPDX-License-Identifier: Apache-2.0
"""Beside the carriageway: people, street furniture, plants, walls and buildings."""

from __future__ import annotations

import numpy as np

from lidistill.world.scene import people, street
from lidistill.world.scene.fleet import make_vehicle
from lidistill.world.scene.site import Site


def pedestrians(site: Site) -> None:
    """Walkers on two footpath lanes a side, and groups that stand between them and the green."""
    rng, s = site.rng, site.street
    for side in (-1.0, 1.0):
        for lane, offset in ((0, 1.60), (1, 2.62)):
            speed = float(rng.uniform(1.0, 1.5))
            yaw = 0.0 if (lane == 0) == (side < 0) else np.pi
            x = site.near[0] - 10.0
            while x < site.near[1] + 15.0:
                x += 1.3 + rng.exponential(100.0 / (0.3 * site.profile.pedestrians))
                kind = "child" if rng.random() < 0.12 else "pedestrian"
                plan = people.pedestrian(rng, kind, rng.uniform(0.25, 0.5))
                site.put(plan, x, side * (s.half + offset), yaw + rng.normal(0, 0.001), speed)
        x = site.near[0]
        while x < site.near[1]:
            x += 1.0 + rng.exponential(250.0 / (0.4 * site.profile.pedestrians))
            for _ in range(int(rng.integers(1, 4))):
                x += rng.uniform(0.95, 1.2)
                if site.free(x, 0.5):
                    stand(site, x, side * (s.half + s.path - 0.62), side)


def stand(site: Site, x: float, y: float, side: float) -> None:
    """Someone who stands and looks anywhere, or sits with the back to the buildings."""
    rng = site.rng
    if rng.random() < 0.12:
        site.put(people.sitting(rng), x, y, -side * np.pi / 2)
        return
    kind = "child" if rng.random() < 0.12 else "pedestrian"
    site.put(people.pedestrian(rng, kind), x, y, rng.uniform(-np.pi, np.pi))


def furniture(site: Site) -> None:
    """Poles, cabinets, parked bicycles and cones along the kerb."""
    rng, s = site.rng, site.street
    names = ["pole", "cabinet", "bicycle", "motorcycle", "cone"]
    for side in (-1.0, 1.0):
        x = site.extent[0]
        while x < site.extent[1]:
            x += rng.uniform(2.7, 6.0)
            name = names[rng.choice(5, p=[0.40, 0.16, 0.22, 0.16, 0.06])]
            if not site.free(x, 1.2):
                continue
            y = side * (s.half + 0.65)
            if name == "pole":
                site.put(street.pole(rng), x, y, 0.0 if side < 0 else np.pi)
            elif name == "cabinet":
                site.put(street.cabinet(rng), x, side * (s.half + s.path + 0.8), rng.normal(0, 0.1))
            elif name == "cone":
                site.put(street.cone(rng), x, y, rng.uniform(0, 6.28))
            elif site.near[0] < x < site.near[1]:
                site.put(
                    make_vehicle(site.rng, name),
                    x,
                    y,
                    rng.choice([0.0, np.pi]) + rng.normal(0, 0.04),
                )


def green(site: Site) -> None:
    """Trees, bushes, hedges, walls, and buildings behind them."""
    rng, s = site.rng, site.street
    for side in (-1.0, 1.0):
        x = site.extent[0]
        while x < site.extent[1]:
            x += rng.exponential(100.0 / site.profile.trees) + 1.5
            if site.free(x, 2.6):  # crowns reach out
                plan = street.tree(rng) if rng.random() < 0.6 else street.bush(rng)
                y = s.half + s.path + rng.uniform(0.6, 0.8) * s.green
                site.put(plan, x, side * y, rng.uniform(-np.pi, np.pi))
        _row_of_walls(site, side)
        _row_of_buildings(site, side)


def _row_of_walls(site: Site, side: float) -> None:
    rng, s = site.rng, site.street
    x = site.extent[0]
    while x < site.extent[1]:
        length = rng.uniform(4.0, 12.0)
        x += length / 2
        if rng.random() < 0.7 and site.free(x, length / 2):
            plan = street.wall(rng, length) if rng.random() < 0.5 else street.hedge(rng, length)
            site.put(plan, x, side * (s.half + s.path + s.green), 0.0)
        x += length / 2 + rng.uniform(0.5, 5.0)


def _row_of_buildings(site: Site, side: float) -> None:
    rng, s = site.rng, site.street
    x = site.extent[0]
    while x < site.extent[1]:
        length, depth = rng.uniform(8.0, 22.0), rng.uniform(8.0, 14.0)
        x += length / 2
        if site.free(x, length / 2) and rng.random() < 0.85:
            y = s.half + s.path + s.green + 1.8 + rng.uniform(0.0, 4.0) + depth / 2
            plan = street.building(rng, length, depth)
            site.put(plan, x, side * y, 0.0 if side < 0 else np.pi)
        elif site.free(x, 2.0):
            for shift in (-3.0, 2.0):
                y = s.half + s.path + s.green + rng.uniform(4.0, 9.0)
                site.put(street.tree(rng), x + shift, side * y, 0.0)
        x += length / 2 + rng.uniform(0.5, 6.0)
