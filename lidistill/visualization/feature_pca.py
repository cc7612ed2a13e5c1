# SPDX-License-Identifier: Apache-2.0
"""Features as colours: their three main directions as red, green and blue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DARKEST = 30
"""Of a colour channel: no point may vanish on dark ground."""


@dataclass
class FeaturePCA:
    """Directions and range fitted to one set of features, to be applied to any other.

    Attributes:
        mean: (C,).
        directions: (3, C), unit length, by falling variance; each one's largest entry is positive,
            so the same features always give the same colours.
        low: (3,) drawn darkest.
        high: (3,) drawn as 255.
        explained: (3,) share of the total variance.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    explained: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray, clip: float = 2.0) -> FeaturePCA:
        """Fit to features.

        Args:
            features: (N, C), N >= 2, C >= 1; fewer than three channels leave colours unused.
            clip: percent of points beyond the range at each end.

        Raises:
            ValueError: fewer than two points, or NaN.
        """
        values = np.asarray(features, dtype=np.float64)
        if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
            raise ValueError(f"expected finite features (N >= 2, C), got shape {values.shape}")
        mean = values.mean(axis=0)
        covariance = (values - mean).T @ (values - mean) / len(values)
        variance, vectors = np.linalg.eigh(covariance)  # rising
        directions = np.zeros((3, values.shape[1]))
        found = vectors[:, ::-1][:, :3].T
        directions[: len(found)] = found
        largest = np.abs(directions).argmax(axis=1)
        signs = np.sign(directions[np.arange(3), largest])
        directions *= np.where(signs == 0, 1, signs)[:, None]
        scores = (values - mean) @ directions.T
        explained = np.zeros(3)
        explained[: len(found)] = variance[::-1][:3] / max(variance.sum(), 1e-300)
        return cls(
            mean=mean,
            directions=directions,
            low=np.percentile(scores, clip, axis=0),
            high=np.percentile(scores, 100 - clip, axis=0),
            explained=explained,
        )

    def colours(self, features: NDArray) -> NDArray[np.uint8]:
        """Colours of features of the same network.

        Args:
            features: (N, C).

        Returns:
            (N, 3) uint8 RGB.
        """
        values = np.asarray(features, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.mean):
            raise ValueError(f"fitted to {len(self.mean)} channels, got features {values.shape}")
        scores = (values - self.mean) @ self.directions.T
        span = np.maximum(self.high - self.low, 1e-12)
        share = np.where(self.high > self.low, (scores - self.low) / span, 0.5)
        return (_DARKEST + np.clip(share, 0, 1) * (255 - _DARKEST)).round().astype(np.uint8)
