# SPDX-License-Identifier: Apache-2.0
"""Class-balanced repetition: frames of rare classes come more often."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def balanced_rows(labels: Sequence[Collection[int] | None], seed: int = 0) -> list[int]:
    """Rows to train on, so that every class is drawn equally often.

    Args:
        labels: classes in each frame; None for a frame whose labels are not known, which comes
            once.
        seed: of the choice among a frequent class's frames.

    Returns:
        Rows, with repetitions, in the frames' order. Each class that occurs brings a frame's worth
        of the mean over classes; a frame without objects is not drawn.

    Source: CBGS (1908.09492), section 3.1.
    Differs from the authors' release: a class's frames come in whole rounds and the rest at random
    without repetition, in place of draws with repetition; absent classes take no share.
    """
    by_class: dict[int, list[int]] = {}
    for row, found in enumerate(labels):
        for label in sorted(set(found or ())):
            by_class.setdefault(int(label), []).append(row)
    chosen = [row for row, found in enumerate(labels) if found is None]
    if by_class:
        share = sum(map(len, by_class.values())) // len(by_class)
        rng = np.random.default_rng([seed, 17])
        for label in sorted(by_class):
            rows = np.array(by_class[label])
            rounds, rest = divmod(share, len(rows))
            chosen += np.tile(rows, rounds).tolist() + rng.permutation(rows)[:rest].tolist()
    return sorted(chosen)
