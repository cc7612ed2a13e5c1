# SPDX-License-Identifier: Apache-2.0
"""Schedules: the weight of a loss term over training, as a function of progress in [0, 1]."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Schedule(Protocol):
    """Anything that maps progress (0 at the first iteration, 1 after the last) to a weight."""

    def __call__(self, progress: float) -> float:
        """Weight at ``progress``."""


class Constant:
    """The same weight throughout."""

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def __call__(self, progress: float) -> float:
        """Weight at ``progress``."""
        return self.weight


class Ramp:
    """From ``start`` to ``end`` while progress goes from ``begin`` to ``until``; constant outside.

    Args:
        start: weight up to ``begin``.
        end: weight from ``until`` on.
        begin: progress at which the change starts.
        until: progress at which it ends.
        shape: ``"linear"`` or ``"cosine"``.
    """

    def __init__(
        self,
        start: float,
        end: float,
        begin: float = 0.0,
        until: float = 1.0,
        shape: str = "linear",
    ) -> None:
        if not 0.0 <= begin < until <= 1.0:
            raise ValueError(f"expected 0 <= begin < until <= 1, got begin {begin}, until {until}")
        if shape not in ("linear", "cosine"):
            raise ValueError(f"shape must be 'linear' or 'cosine', got {shape!r}")
        self.start, self.end, self.begin, self.until, self.shape = start, end, begin, until, shape

    def __call__(self, progress: float) -> float:
        """Weight at ``progress``."""
        share = min(max((progress - self.begin) / (self.until - self.begin), 0.0), 1.0)
        if self.shape == "cosine":
            share = 0.5 - 0.5 * math.cos(math.pi * share)
        return self.start + (self.end - self.start) * share


class Steps:
    """``weights[i]`` between ``milestones[i - 1]`` and ``milestones[i]`` (progress)."""

    def __init__(self, milestones: Sequence[float], weights: Sequence[float]) -> None:
        if len(weights) != len(milestones) + 1 or list(milestones) != sorted(milestones):
            raise ValueError(
                f"expected sorted milestones and one weight more than milestones, got "
                f"{list(milestones)} and {list(weights)}"
            )
        self.milestones, self.weights = list(milestones), list(weights)

    def __call__(self, progress: float) -> float:
        """Weight at ``progress``."""
        return self.weights[bisect.bisect_right(self.milestones, progress)]


def as_schedule(weight: float | Schedule | Mapping[str, Any]) -> Schedule:
    """A number stands for a constant, a dictionary for its ``type`` with the other entries."""
    if isinstance(weight, Mapping):
        arguments = dict(weight)
        schedule: Schedule = arguments.pop("type")(**arguments)
        return schedule
    return weight if callable(weight) else Constant(float(weight))
