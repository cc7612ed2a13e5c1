# SPDX-License-Identifier: Apache-2.0
"""Weather of a scene: sun, sky, haze, exposure, white balance and sensor noise."""

from __future__ import annotations

import numpy as np

from lidistill.world.scene.scene import Light


def draw_light(rng: np.random.Generator) -> tuple[Light, str]:
    """Draw the light of a scene; a few scenes are dull and wet, a few are dark.

    Returns:
        The light, and a word for the scene's description.
    """
    azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.35, 1.2)
    sun = np.array(
        [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
    )
    weather = str(rng.choice(["clear", "cloudy", "rain", "dusk"], p=[0.5, 0.3, 0.1, 0.1]))
    ambient = {"clear": (0.35, 0.5), "cloudy": (0.55, 0.7), "rain": (0.6, 0.7), "dusk": (0.45, 0.6)}
    exposure = {
        "clear": (0.9, 1.15),
        "cloudy": (0.8, 1.05),
        "rain": (0.7, 0.85),
        "dusk": (0.5, 0.65),
    }
    blue, grey = np.array([0.42, 0.58, 0.80]), np.array([0.66, 0.69, 0.72])
    mix = {"clear": 0.1, "cloudy": 0.8, "rain": 1.0, "dusk": 0.4}[weather]
    zenith = (1 - mix) * blue + mix * grey
    horizon = 0.45 * zenith + 0.55 * np.array([0.86, 0.87, 0.88])
    return (
        Light(
            sun=sun,
            ambient=float(rng.uniform(*ambient[weather])),
            exposure=float(rng.uniform(*exposure[weather])),
            white_balance=np.array([rng.uniform(0.92, 1.08), 1.0, rng.uniform(0.92, 1.08)]),
            haze=float(
                rng.uniform(220.0, 420.0) if weather != "rain" else rng.uniform(90.0, 150.0)
            ),
            zenith=zenith,
            horizon=horizon,
            noise=float(rng.uniform(0.006, 0.016) * (1.8 if weather == "dusk" else 1.0)),
            lidar_dropout=0.10 if weather == "rain" else 0.0,
        ),
        weather,
    )
