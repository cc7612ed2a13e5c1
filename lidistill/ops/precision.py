# SPDX-License-Identifier: Apache-2.0
"""What stays in full precision where autocast makes the rest half."""

from __future__ import annotations

from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Half-precision values as float32; float32 and float64 as they are.

    Embeddings pass through here before they are normalised, averaged and compared: bfloat16 has 8
    bits of mantissa, too few for sums over thousands of points and for the logits of a softmax.
    """
    return values.float() if values.dtype.itemsize < 4 else values
