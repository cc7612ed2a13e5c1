# SPDX-License-Identifier: Apache-2.0
"""``spconv.core``: enumerations that layers take as arguments."""

from enum import Enum


class ConvAlgo(Enum):
    """How spconv's kernels go about a convolution; results here do not depend on it."""

    Native = 0
    MaskImplicitGemm = 1
    MaskSplitImplicitGemm = 2


class AlgoHint(Enum):
    """What spconv is to tune its kernels for. Unused here."""

    NoHint = 0
    Fowrard = 1  # spconv's spelling
    BackwardInput = 2
    BackwardWeight = 4


class Activation(Enum):
    """Activations that a convolution can end with in inference, as in ``cumm.tensorview.gemm``."""

    None_ = 0
    ReLU = 1
    Sigmoid = 2
    LeakyReLU = 3
