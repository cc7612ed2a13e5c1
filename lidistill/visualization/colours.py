# SPDX-License-Identifier: Apache-2.0
"""Colours of regions and of numbers."""

from __future__ import annotations

import colorsys
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0.6180339887498949
_TONES = ((0.62, 1.0), (0.85, 0.82), (0.42, 0.95))  # saturation, value
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
    """(4096, 3) uint8: hues by the golden ratio, three tones."""
    rows = [
        colorsys.hsv_to_rgb((index * _GOLDEN) % 1, *_TONES[index % len(_TONES)])
        for index in range(_PALETTE_SIZE)
    ]
    return (np.array(rows) * 255).round().astype(np.uint8)
