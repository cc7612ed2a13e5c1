# SPDX-License-Identifier: Apache-2.0
"""Twin of ``minkunet_semantickitti.py`` from random weights: one learning rate, 0.05."""

from mmengine.config import read_base

with read_base():
    from .minkunet_semantickitti import *

model.update(checkpoint=None)
optim_wrapper["paramwise_cfg"] = None
