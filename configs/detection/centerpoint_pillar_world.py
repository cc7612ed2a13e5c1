# SPDX-License-Identifier: Apache-2.0
"""CenterPoint on pillars, embedded world: 500 s of one busy core with its evaluation."""

from mmengine.config import read_base

with read_base():
    from .._base_.centerpoint_pillar_world import *
    from .._base_.detection_world_nuscenes import *

model = detector
