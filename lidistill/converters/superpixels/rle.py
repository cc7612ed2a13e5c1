# SPDX-License-Identifier: Apache-2.0
"""COCO's run-length code of masks, without pycocotools.

A mask is walked column by column; its runs are lengths of off, on, off, ... pixels. A compressed
string keeps each length, from the third on as the difference to the one two before, in groups of
five bits, the lowest first; each character holds a group, a flag "more follow" and an offset of 48.

Source: cocoapi, ``common/maskApi.c``, ``rleFrString``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_RUN = 2**35
"""Longest run: no sum of runs that fit into memory leaves 64 bits."""


def decode_string(text: str) -> NDArray[np.int64]:
    """Run lengths of a compressed string.

    Raises:
        ValueError: It is no such string.
    """
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return np.zeros(0, dtype=np.int64)
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise ValueError(f"no run-length string: {text[:20]!r}")
    last = (codes & 0x20) == 0
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)  # group within its number
    if place.max() > 6:
        raise ValueError(f"no run-length string: a number of over 35 bits in {text[:20]!r}")
    values = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    negative = (codes[ends] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * (place[ends[negative]] + 1))
    # no sum of numbers this small can leave 64 bits
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return decode_counts(values)


def decode_counts(counts: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Run lengths of an uncompressed list, checked.

    Raises:
        ValueError: A run is negative or no integer.
    """
    runs = np.asarray(counts)
    if runs.size == 0 and runs.ndim == 1:
        return np.zeros(0, dtype=np.int64)
    whole = runs.ndim == 1 and runs.dtype.kind in "iu"
    if not whole or runs.min() < 0 or runs.max() > MAX_RUN:
        raise ValueError(f"runs must be integers in 0..{MAX_RUN}, got {str(counts[:8])[:40]}")
    return runs.astype(np.int64)
