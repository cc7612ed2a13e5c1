# SPDX-License-Identifier: Apache-2.0
"""All that rolls, by name."""

from __future__ import annotations

from lidistill.world.scene import people, vehicles
from lidistill.world.scene.blueprint import Blueprint
from lidistill.world.scene.vehicles import Rng


def make_vehicle(rng: Rng, name: str) -> Blueprint:
    """A vehicle by name, two-wheelers included."""
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
