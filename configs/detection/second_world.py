# SPDX-License-Identifier: Apache-2.0
"""SECOND, embedded world in KITTI's layout."""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_world_kitti import *
    from .._base_.second_world import *

model = detector
