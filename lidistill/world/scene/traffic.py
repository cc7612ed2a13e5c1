# SPDX-License-Identifier: Apache-2.0
"""The carriageway: traffic in its lanes, cyclists, vehicles that wait in side streets."""

from __future__ import annotations

import numpy as np

from lidistill.world.scene.blueprint import Blueprint
from lidistill.world.scene.fleet import make_vehicle
from lidistill.world.scene.site import CYCLE, PARKING, Site


def traffic(site: Site) -> None:
    """Vehicles in every lane; the ego's own lane keeps its speed and a free stretch."""
    for side in (-1.0, 1.0):
        for lane in range(site.street.lanes):
            own = side < 0 and lane == site.street.lanes - 1
            speed = site.ego_speed if own else float(site.rng.uniform(4.0, 10.0))
            drift = speed * site.duration * (1.0 if side < 0 else -1.0)
            x = site.extent[0] - max(drift, 0.0)
            end = site.extent[1] - min(drift, 0.0)
            while x < end:
                plan = _driving(site)
                x += plan.size[0] / 2
                if not own or abs(x) > 9.0 + plan.size[0] / 2:
                    y = side * site.street.lane(lane) + site.rng.normal(0.0, 0.12)
                    site.put(plan, x, y, site.heading(side), speed)
                x += plan.size[0] / 2 + site.rng.uniform(*site.profile.traffic_gap)


def _driving(site: Site) -> Blueprint:
    names = ["car", "van", "truck", "bus", "motorcyclist", "tram"]
    share = np.array([0.64, 0.08, 0.06, 0.04, 0.18, 0.03 if site.profile.tram else 0.0])
    return make_vehicle(site.rng, names[site.rng.choice(len(names), p=share / share.sum())])


def cyclists(site: Site) -> None:
    """Riders in the cycle strips, one speed a side."""
    for side in (-1.0, 1.0):
        speed = float(site.rng.uniform(3.5, 6.0))
        x = site.near[0] - 25.0
        while x < site.near[1] + 30.0:
            x += 3.0 + site.rng.exponential(100.0 / site.profile.cyclists)
            plan = make_vehicle(site.rng, "cyclist" if site.rng.random() < 0.68 else "motorcyclist")
            y = side * (site.street.half - PARKING - CYCLE / 2 + site.rng.normal(0, 0.06))
            site.put(plan, x, y, site.heading(side), speed)


def side_streets(site: Site) -> None:
    """Vehicles that wait at the side streets, across the ego's heading."""
    for x in site.crossings:
        for side in (-1.0, 1.0):
            y = site.street.half + site.street.path + site.rng.uniform(0.6, 2.0)
            for _ in range(int(site.rng.integers(0, 4))):
                names, share = (
                    ["car", "motorcyclist", "cyclist", "truck"],
                    [0.6, 0.15, 0.15, 0.1],
                )
                plan = make_vehicle(site.rng, names[site.rng.choice(4, p=share)])
                y += plan.size[0] / 2
                site.put(plan, x + side * 1.75, side * y, -side * np.pi / 2)
                y += plan.size[0] / 2 + site.rng.uniform(1.5, 5.0)
