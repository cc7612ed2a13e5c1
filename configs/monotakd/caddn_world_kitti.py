# SPDX-License-Identifier: Apache-2.0
"""CaDDN's detector of one camera alone, embedded world in KITTI's layout: no teacher."""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_world_kitti import *
    from .._base_.caddn_world import *

model = camera_detector
