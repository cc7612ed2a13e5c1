# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR on SemanticKITTI, else as SLidR's. Not run."""

from mmengine.config import read_base

with read_base():
    from ..slidr.minkunet_efficientnet_semantickitti import *

from lidistill.methods import STSLidR

model.update(type=STSLidR, min_quantile=0.01, class_balance=True)
