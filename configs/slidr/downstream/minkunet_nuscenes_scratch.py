# SPDX-License-Identifier: Apache-2.0
"""Twin of ``minkunet_nuscenes.py`` from random weights.

Learning rate 0.05 for backbone and head alike: SLidR's authors, issue 11 of their repository.
"""

from mmengine.config import read_base

with read_base():
    from .minkunet_nuscenes import *

model.update(checkpoint=None)
optim_wrapper["paramwise_cfg"] = None
optim_wrapper["optimizer"].update(lr=0.05)
