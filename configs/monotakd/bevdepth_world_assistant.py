# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD's assistant: the BEV detector of cameras with the LiDAR's depth, embedded world.

A cell of an image without a measurement gives nothing, as in the release.
"""

from mmengine.config import read_base

with read_base():
    from .bevdepth_world import *

model = assistant_detector
