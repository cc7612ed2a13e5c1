# SPDX-License-Identifier: Apache-2.0
"""spconv's layers on the CPU without any spconv package; answers ``import spconv`` where none is.

The modules here carry the names of spconv's: what code of others imports as
``spconv.pytorch.conv`` is `lidistill.ops.spconv.pytorch.conv` (`lidistill.compat.spconv_names`).
Names, arguments, start weights and state dictionaries are those of spconv 2.3.8, so models and
checkpoints go from one to the other unchanged. The layers are those that networks are built from;
voxelizers (``spconv.utils``), quantization and the functional interface are not here.
"""

from lidistill.ops.spconv import constants
from lidistill.ops.spconv.core import AlgoHint, ConvAlgo

SPCONV_VERSION_NUMBERS = [2, 3, 8]
"""The release whose interface this is."""
__version__ = ".".join(map(str, SPCONV_VERSION_NUMBERS))

__all__ = ["SPCONV_VERSION_NUMBERS", "AlgoHint", "ConvAlgo", "constants"]
