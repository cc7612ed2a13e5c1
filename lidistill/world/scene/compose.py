# SPDX-License-Identifier: Apache-2.0
"""Compose a street scene from a seed: ground, traffic, people, plants, buildings, light.

Things stand in strips (lanes, cycle strip, parking strip, furniture strip, footpaths, green, yards)
and all that moves in one strip moves at one speed, so nothing ever collides.
"""

from __future__ import annotations

import numpy as np

from lidistill.world.scene.blueprint import Blueprint
from lidistill.world.scene.kerbside import parking
from lidistill.world.scene.light import draw_light
from lidistill.world.scene.pavement import draw_ground_tints, make_ground, make_marks
from lidistill.world.scene.roadside import furniture, green, pedestrians
from lidistill.world.scene.scene import EgoPath, Scene
from lidistill.world.scene.site import Profile, Site
from lidistill.world.scene.traffic import cyclists, side_streets, traffic


def ego_body(rng: np.random.Generator) -> Blueprint:
    """The ego's roof, bonnet and rack as the LiDAR sees them."""
    plan = Blueprint("ego", rng)
    tint = np.full(3, 0.8)
    plan.box((0.0, 0, 0.0), (2.35, 0.90, 0.95), "ego", tint)
    plan.box((-0.05, 0, 1.27), (0.90, 0.74, 0.32), "ego", tint, (0.5, 0.3, 0.15))
    plan.finish()
    plan.prim[:, 0] += 0.95  # the rear axle is the ego's origin, its middle lies before it
    return plan


def compose(name: str, seed: tuple[int, ...], duration: float, profile: Profile) -> Scene:
    """Make the scene of a name and seed.

    Args:
        name: scene name.
        seed: entropy of the scene's generator, for instance (world seed, scene number).
        duration: seconds the ego drives; the street is as long as it needs.
        profile: densities.
    """
    rng = np.random.default_rng([*seed, 1])
    site = Site(rng, duration, profile)
    for fill in (traffic, cyclists, parking, side_streets, pedestrians, furniture, green):
        fill(site)
    light, weather = draw_light(rng)
    ego = EgoPath(
        site.ego_speed,
        -site.street.lane(site.street.lanes - 1),
        float(rng.uniform(0.05, 0.25)),
        float(rng.uniform(0.2, 0.6)),
        float(rng.uniform(0.0, 6.28)),
    )
    return Scene(
        name,
        f"synthetic, seed {seed[0]}, {weather}",
        site.things,
        make_ground(site),
        make_marks(site),
        draw_ground_tints(rng),
        light,
        ego,
        ego_body(rng),
        int(rng.integers(1 << 30)),
    )
