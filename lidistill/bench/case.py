# SPDX-License-Identifier: Apache-2.0
"""What one benchmark is: the authors' way and ours, on the same input.

A file ``lidistill/bench/<name>.py`` takes part in ``lidistill bench`` by having a function
``cases(size: str) -> list[Case]``; ``size`` is ``"quick"`` (seconds, for tests) or ``"full"`` (the
sizes that users have). Inputs are made inside ``cases`` and captured by the two callables, so that
only the work itself is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class ProcessorSeconds(float):
    """What a callable returns that counts its own time; as a reference it may run elsewhere."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: Short and unique, for example ``"region InfoNCE, forward + backward"``.
        size: The input in words, for example ``"6 x 64 x 224 x 416, 150 regions, 12k pairs"``.
        reference: The same result computed the way the authors' release does it, or None where
            there is nothing to compare with (a whole training step, say).
        ours: Our computation.
    """

    name: str
    size: str
    reference: Callable[[], Any] | None
    ours: Callable[[], Any]
