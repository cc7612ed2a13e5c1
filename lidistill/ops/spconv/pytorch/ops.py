# SPDX-License-Identifier: Apache-2.0
"""``spconv.pytorch.ops``: sizes of output grids."""

from lidistill.ops.sparse.layers import conv_output_size as get_conv_output_size
from lidistill.ops.sparse.layers import deconv_output_size as get_deconv_output_size
from lidistill.ops.spconv.core import ConvAlgo

__all__ = ["ConvAlgo", "get_conv_output_size", "get_deconv_output_size"]
