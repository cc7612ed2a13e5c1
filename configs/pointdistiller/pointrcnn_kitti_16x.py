# SPDX-License-Identifier: Apache-2.0
"""PointDistiller as published: PointRCNN on KITTI, 16x fewer parameters (paper, KITTI table)."""

from mmengine.config import read_base

with read_base():
    from .pointrcnn_kitti_8x import *

model["student"].update(encoder=0.25, backbone=0.25, head=0.25)
model["graphs"]["points"].update(channels=(32, 128), width=32)
