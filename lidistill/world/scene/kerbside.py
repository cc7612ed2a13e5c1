# SPDX-License-Identifier: Apache-2.0
"""The parking strips: parked vehicles, gaps with people, roadworks."""

from __future__ import annotations

import numpy as np

from lidistill.world.scene import people, street
from lidistill.world.scene.fleet import make_vehicle
from lidistill.world.scene.roadside import stand
from lidistill.world.scene.site import PARKING, Site

RARE = ("truck", "bus", "trailer", "construction", "works", "motorcycle", "bicycle")


def parking(site: Site) -> None:
    """Parked vehicles and roadworks along both kerbs; one of each rare class near the ego's path.

    The two sides take the rare classes in opposite orders: even a short street has them all.
    """
    order = [RARE[k] for k in site.rng.permutation(len(RARE))] if site.profile.all_classes else []
    for side in (-1.0, 1.0):
        order.reverse()
        wanted = list(order)
        places = np.sort(site.rng.uniform(-14.0, site.near[1] - 12.0, len(wanted)))
        x = site.extent[0]
        while x < site.extent[1]:
            if wanted and x > places[len(places) - len(wanted)]:
                before = len(site.things)
                x = _park(site, wanted[0], side, x)
                if len(site.things) > before:  # a side street may have been in the way
                    wanted.pop(0)
            else:
                x = _park(site, _parked_name(site), side, x)


def _parked_name(site: Site) -> str:
    if site.rng.random() > site.profile.parked:
        return ""
    names = ["car", "van", "truck", "trailer", "motorcycle", "bicycle", "works"]
    share = [0.58, 0.07, 0.02, 0.03, 0.12, 0.07, 0.11]
    return names[site.rng.choice(len(names), p=share)]


def _park(site: Site, name: str, side: float, x: float) -> float:
    """Fill the slot that begins at x; returns where the next one begins."""
    rng, y = site.rng, side * (site.street.half - PARKING / 2 - 0.1)
    if name == "":
        return _gap(site, side, x)
    if name == "works":
        return _roadworks(site, side, x)
    if name in ("motorcycle", "bicycle"):
        for _ in range(int(rng.integers(2, 5))):
            x += rng.uniform(1.3, 1.8)
            if site.free(x, 1.2):
                site.put(make_vehicle(site.rng, name), x, y, side * np.pi / 2 + rng.normal(0, 0.05))
        return x + 1.6
    plan = make_vehicle(site.rng, name)
    middle = x + plan.size[0] / 2
    if not site.free(middle, plan.size[0] / 2):
        return x + 2.0
    flip = np.pi if rng.random() < 0.15 else 0.0
    site.put(plan, middle, y, site.heading(side) + flip + rng.normal(0.0, 0.008))
    site.things[-1].parked = True
    if name == "construction":
        return _roadworks(site, side, x + plan.size[0] + 0.8)
    return x + plan.size[0] + rng.uniform(0.7, 2.2)


def _gap(site: Site, side: float, x: float) -> float:
    """An empty slot, often with people who cross between the parked cars or a few cones."""
    rng, length = site.rng, float(site.rng.uniform(4.0, 7.0))
    y = site.street.half - PARKING / 2
    inside = site.near[0] < x < site.near[1] and site.free(x + length / 2, length / 2)
    if inside and rng.random() < 0.75:
        for spot in np.arange(x + 0.6, x + length - 0.5, 1.1):
            if rng.random() < 0.6:
                stand(site, spot, side * (y + rng.uniform(-0.7, 0.7)), side)
    elif inside:
        for spot in np.arange(x + 0.5, x + length - 0.5, 1.3):
            site.put(street.cone(rng), spot, side * (y - rng.uniform(0.3, 0.9)), 0.0)
    return x + length


def _roadworks(site: Site, side: float, x: float) -> float:
    """Barriers in a row, cones and a worker in the parking strip."""
    rng, y = site.rng, side * (site.street.half - PARKING / 2 - 0.1)
    for _ in range(int(rng.integers(2, 5))):
        plan = street.barrier(rng)
        x += plan.size[1] / 2
        if site.free(x, 1.4):
            site.put(plan, x, y - side * 0.75, np.pi / 2 + rng.normal(0.0, 0.04))
            if rng.random() < 0.5:
                worker = people.pedestrian(rng, "worker")
                site.put(worker, x, y + side * 0.5, rng.uniform(-np.pi, np.pi))
        x += plan.size[1] / 2 + rng.uniform(0.1, 0.5)
    for _ in range(int(rng.integers(3, 7))):
        x += rng.uniform(0.9, 1.8)
        if site.free(x, 0.4):
            site.put(street.cone(rng), x, y - side * rng.uniform(0.0, 0.9), rng.uniform(0, 6.28))
    return x + 1.5
