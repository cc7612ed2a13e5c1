# SPDX-License-Identifier: Apache-2.0
"""Materials: how a surface's texture and LiDAR return depend on what it is made of.

Texture (frequency, amplitude, pattern) carries the class; tints and reflectivities are drawn from
ranges that overlap between classes on purpose, so neither colour nor intensity solves a task alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Patterns a texture kernel knows (see texture.py).
PLAIN, WINDOWS, BRICK, SLABS, LANES, STRIPES, DIAGONAL, CAR_BODY, CABIN = range(9)
COACH, RIBS, CHECKS, LEAVES, WHEEL, HAZARD, PLANKS, SPECKLE, HATCH, FACE = range(9, 19)


@dataclass(frozen=True)
class Material:
    """One material.

    Attributes:
        frequency: lattice cells of the first noise octave per metre.
        amplitude: its relative strength.
        fine: strength of a second octave at 3.1 times the frequency.
        pattern: one of the pattern constants.
        scale: size of the pattern, metres.
        reflectivity: median LiDAR intensity at close range and normal incidence, 0-255.
        roughness: extra depth spread of LiDAR returns, metres (leaves scatter, metal does not).
        dropout: extra probability of no return (glass, gaps between leaves and spokes).
    """

    frequency: float
    amplitude: float
    fine: float
    pattern: int = PLAIN
    scale: float = 1.0
    reflectivity: float = 18.0
    roughness: float = 0.0
    dropout: float = 0.0


MATERIALS: dict[str, Material] = {
    # ground; noise in world coordinates
    "road": Material(7.0, 0.10, 0.10, LANES, 1.0, 16.0),
    "sidewalk": Material(0.9, 0.07, 0.05, SLABS, 0.9, 17.0),
    "kerb": Material(1.5, 0.06, 0.06, SLABS, 1.2, 19.0),
    "grass": Material(3.4, 0.42, 0.34, SPECKLE, 1.0, 18.0, 0.02),
    "gravel": Material(1.6, 0.20, 0.30, HATCH, 1.1, 17.0),
    # static
    "brick": Material(1.2, 0.08, 0.06, BRICK, 3.0, 18.0),
    "plaster": Material(0.5, 0.07, 0.03, WINDOWS, 3.1, 20.0),
    "concrete": Material(0.8, 0.12, 0.08, WINDOWS, 4.2, 18.0),
    "glass_wall": Material(0.2, 0.03, 0.0, WINDOWS, 1.9, 15.0, 0.0, 0.18),
    "wall": Material(1.1, 0.10, 0.08, BRICK, 0.0, 18.0),
    "fence": Material(2.0, 0.12, 0.05, PLANKS, 0.24, 17.0),
    "metal_pole": Material(2.0, 0.06, 0.02, PLAIN, 1.0, 19.0),
    "sign": Material(1.0, 0.02, 0.0, FACE, 1.0, 26.0),
    "leaf": Material(2.6, 0.50, 0.45, LEAVES, 1.0, 17.0, 0.10, 0.10),
    "bark": Material(5.0, 0.30, 0.25, PLAIN, 1.0, 16.0),
    # vehicles
    "car_body": Material(0.3, 0.03, 0.0, CAR_BODY, 1.0, 18.0, 0.0, 0.06),
    "car_cabin": Material(0.3, 0.03, 0.0, CABIN, 1.0, 15.0, 0.0, 0.20),
    "truck_cab": Material(0.4, 0.05, 0.0, CAR_BODY, 1.6, 18.0, 0.0, 0.06),
    "truck_box": Material(0.5, 0.09, 0.03, PLANKS, 0.62, 19.0),
    "bus_body": Material(0.4, 0.04, 0.0, COACH, 1.45, 18.0, 0.0, 0.05),
    "trailer_box": Material(0.5, 0.05, 0.02, RIBS, 0.46, 19.0),
    "machine": Material(1.6, 0.24, 0.14, HAZARD, 0.55, 18.0),
    "rubber": Material(3.0, 0.10, 0.05, WHEEL, 1.0, 14.0),
    "frame": Material(6.0, 0.22, 0.10, PLAIN, 1.0, 17.0, 0.0, 0.08),
    "motor": Material(7.0, 0.40, 0.30, SPECKLE, 1.0, 16.0),
    # people and street furniture
    "cloth": Material(1.4, 0.16, 0.10, CHECKS, 0.22, 17.0),
    "trousers": Material(2.2, 0.10, 0.05, PLAIN, 1.0, 17.0),
    "skin": Material(2.0, 0.05, 0.0, FACE, 1.0, 18.0),
    "cone": Material(1.0, 0.04, 0.0, STRIPES, 0.30, 22.0),
    "barrier": Material(1.0, 0.06, 0.03, DIAGONAL, 0.50, 20.0),
    "ego": Material(0.3, 0.02, 0.0, PLAIN, 1.0, 18.0),
}
NAMES = list(MATERIALS)
INDEX = {name: k for k, name in enumerate(NAMES)}

# Paints shared by everything that is painted or built; each class draws from all of them.
PAINTS = np.array(
    [
        (0.78, 0.78, 0.76), (0.58, 0.60, 0.62), (0.36, 0.37, 0.39), (0.14, 0.14, 0.16),
        (0.62, 0.18, 0.15), (0.20, 0.30, 0.55), (0.22, 0.38, 0.24), (0.45, 0.33, 0.22),
        (0.70, 0.62, 0.48), (0.74, 0.58, 0.18), (0.66, 0.36, 0.16), (0.42, 0.52, 0.56),
    ]
)  # fmt: skip
EARTH = np.array([(0.40, 0.40, 0.40), (0.48, 0.46, 0.43), (0.34, 0.34, 0.36), (0.44, 0.40, 0.33)])
PLANTS = np.array(
    [
        (0.25, 0.37, 0.15), (0.33, 0.40, 0.18), (0.42, 0.40, 0.22), (0.46, 0.36, 0.20),
        (0.20, 0.30, 0.18), (0.38, 0.36, 0.28),
    ]
)  # fmt: skip
SKINS = np.array([(0.80, 0.62, 0.50), (0.62, 0.45, 0.34), (0.40, 0.28, 0.20)])


def texture_table() -> NDArray[np.float64]:
    """(M, 5) frequency, amplitude, fine amplitude, pattern, scale, in the order of ``NAMES``."""
    return np.array(
        [(m.frequency, m.amplitude, m.fine, m.pattern, m.scale) for m in MATERIALS.values()]
    )


def lidar_table() -> NDArray[np.float64]:
    """(M, 3) reflectivity 0-255, roughness in metres, dropout, in the order of ``NAMES``."""
    return np.array([(m.reflectivity, m.roughness, m.dropout) for m in MATERIALS.values()])
