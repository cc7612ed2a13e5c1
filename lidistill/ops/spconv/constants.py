# SPDX-License-Identifier: Apache-2.0
"""``spconv.constants``: switches of spconv's CUDA kernels that detectors set; none is read."""

SPCONV_ALLOW_TF32 = False
SPCONV_DO_SORT = True
SPCONV_USE_DIRECT_TABLE = True
ALL_WEIGHT_IS_KRSC = True
"""Weights are (Cout, kernel..., Cin), always."""
FILTER_HWIO = False
