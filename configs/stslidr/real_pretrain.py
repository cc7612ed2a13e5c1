# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR on real pairs of KITTI: SLidR's with tolerant weights and class balance."""

from mmengine.config import read_base

with read_base():
    from ..slidr.real_pretrain import *

from lidistill.methods import STSLidR

model.update(type=STSLidR, min_quantile=0.01, class_balance=True)
