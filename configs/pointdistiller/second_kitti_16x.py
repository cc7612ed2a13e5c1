# SPDX-License-Identifier: Apache-2.0
"""PointDistiller as published: SECOND on KITTI, 16x fewer parameters (paper, KITTI table)."""

from mmengine.config import read_base

with read_base():
    from .second_kitti_4x import *

model["student"].update(encoder=0.25, backbone=0.25, head=0.25)
model["graphs"]["stage1"].update(channels=(32, 128))
model["graphs"]["stage2"].update(channels=(64, 256))
