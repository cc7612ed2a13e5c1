# SPDX-License-Identifier: Apache-2.0
"""Negative control on real pairs: image features permuted over the regions of the batch."""

from mmengine.config import read_base

with read_base():
    from .real_pretrain import *

model.update(permute_regions=True)
