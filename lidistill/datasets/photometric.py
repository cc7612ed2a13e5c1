# SPDX-License-Identifier: Apache-2.0
"""Random changes of light and colour that leave texture and shape alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GREY_AXIS = np.ones(3) / np.sqrt(3)


@dataclass(frozen=True)
class ColourJitter:
    """One random colour map per image: strong enough that tint stops telling things apart.

    Hue is turned about the grey axis, saturation, channel gains, brightness, contrast and gamma are
    drawn at random, some images lose all colour, and noise is added. All colour changes are one 3x3
    matrix, so that a view costs one pass over its pixels.

    Args:
        hue: largest turn of the hue in radians; pi makes every hue equally likely.
        saturation: range of the factor on the distance from grey.
        grey: probability of no colour at all.
        gain: standard range of the logarithm of each channel's gain (white balance).
        brightness: range of the logarithm of the overall gain.
        contrast: range of the logarithm of the factor about the mean.
        gamma: range of the logarithm of the exponent.
        noise: largest standard deviation of pixel noise, of values in [0, 1].
    """

    hue: float = np.pi
    saturation: tuple[float, float] = (0.3, 1.5)
    grey: float = 0.2
    gain: float = 0.2
    brightness: float = 0.4
    contrast: float = 0.4
    gamma: float = 0.4
    noise: float = 0.02

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        """Change an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            rng: source of all randomness.

        Returns:
            (H, W, 3) float32 in [0, 1].
        """
        exponent = np.exp(rng.uniform(-self.gamma, self.gamma))
        table = (np.arange(256) / 255.0) ** exponent
        values = table.astype(np.float32)[image]
        saturation = 0.0 if rng.random() < self.grey else rng.uniform(*self.saturation)
        matrix = colour_matrix(rng.uniform(-self.hue, self.hue), saturation)
        matrix = np.diag(np.exp(rng.uniform(-self.gain, self.gain, 3))) @ matrix
        matrix *= np.exp(rng.uniform(-self.brightness, self.brightness))
        factor = np.exp(rng.uniform(-self.contrast, self.contrast))
        mean = float((values.mean((0, 1)) @ matrix.T).mean())
        values = values @ (matrix.T * factor).astype(np.float32) + np.float32(mean * (1 - factor))
        if self.noise > 0:
            noise = rng.standard_normal(values.shape, dtype=np.float32)
            values += noise * np.float32(self.noise * rng.random())
        return np.clip(values, 0.0, 1.0, out=values)


def colour_matrix(angle: float, saturation: float) -> NDArray[np.float64]:
    """3x3 map of RGB that turns the hue and scales the distance from grey; grey stays grey.

    Args:
        angle: turn about the grey axis, radians.
        saturation: 0 removes all colour, 1 keeps it.
    """
    x, y, z = GREY_AXIS
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    grey = np.full((3, 3), 1 / 3)
    return np.asarray(grey + saturation * (turn - grey))
