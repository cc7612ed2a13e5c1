# SPDX-License-Identifier: Apache-2.0
"""BEV detector of LiDAR and cameras on the embedded world."""

from mmengine.config import read_base

with read_base():
    from .._base_.bev_detectors_world import *
    from .._base_.bev_world import *

model = fusion_detector
