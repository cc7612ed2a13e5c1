# SPDX-License-Identifier: Apache-2.0
"""Colours of regions and of numbers."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0.6180339887498949
_TONES = ((0.80, 0.13), (0.66, 0.17), (0.90, 0.08))  # lightness, chroma
_PALETTE_SIZE = 4096

MAPS = {
    "turbo": cv2.COLORMAP_TURBO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "inferno": cv2.COLORMAP_INFERNO,
    "cividis": cv2.COLORMAP_CIVIDIS,
}


def region_colours(
    ids: NDArray, unpaired: tuple[int, int, int] = (70, 76, 90)
) -> NDArray[np.uint8]:
    """One colour a region id; ids that follow each other get hues far apart.

    Args:
        ids: (...) integers; negative ones are no region.
        unpaired: colour of those.

    Returns:
        (..., 3) uint8 RGB.
    """
    ids = np.asarray(ids, dtype=np.int64)
    colours = _palette()[ids % _PALETTE_SIZE]
    colours[ids < 0] = unpaired
    return colours


def scalar_colours(
    values: NDArray, low: float | None = None, high: float | None = None, name: str = "turbo"
) -> NDArray[np.uint8]:
    """Numbers as colours of a named map.

    Args:
        values: (N,) floats; NaN gets the lowest colour.
        low: drawn in the map's first colour; the 2nd percentile by default.
        high: drawn in its last colour; the 98th percentile by default.
        name: of :data:`MAPS`.

    Returns:
        (N, 3) uint8 RGB.
    """
    if name not in MAPS:
        raise ValueError(f"unknown colour map {name!r}; known: {', '.join(MAPS)}")
    values = np.asarray(values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        finite = np.zeros(1)
    low = float(np.percentile(finite, 2)) if low is None else low
    high = float(np.percentile(finite, 98)) if high is None else high
    share = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12)
    grey = (np.clip(share, 0, 1) * 255).round().astype(np.uint8)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], MAPS[name])[:, 0, ::-1]
    return np.ascontiguousarray(table[grey])


@cache
def _palette() -> NDArray[np.uint8]:
    """(4096, 3) uint8: hues by the golden ratio, three tones, all light enough for dark ground."""
    number = np.arange(_PALETTE_SIZE)
    lightness, chroma = np.array(_TONES)[number % len(_TONES)].T
    return oklch_to_rgb(lightness, chroma, 2 * np.pi * (number * _GOLDEN % 1))


def oklch_to_rgb(lightness: NDArray, chroma: NDArray, hue: NDArray) -> NDArray[np.uint8]:
    """Colours of even perceived lightness.

    Args:
        lightness: (N,) 0..1.
        chroma: (N,) 0 (grey) to about 0.3; what sRGB cannot show is clipped.
        hue: (N,) radians.

    Returns:
        (N, 3) uint8 sRGB.

    Source: Ottosson 2020, "A perceptual color space for image processing" (Oklab).
    """
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])  # (3, N)
    linear = _RGB_FROM_CONES @ (_CONES_FROM_LAB @ lab) ** 3
    curved = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, curved)
    return (np.clip(rgb.T, 0, 1) * 255).round().astype(np.uint8)


_CONES_FROM_LAB = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB_FROM_CONES = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
