# SPDX-License-Identifier: Apache-2.0
"""PointDistiller as published: PointPillars on KITTI, 16x fewer parameters (paper, KITTI table).

N 12000 and 16 channels of the graph layers: the authors' config of 16x.
"""

from mmengine.config import read_base

with read_base():
    from .pointpillars_kitti_4x import *

model["student"].update(encoder=0.25, backbone=0.25, head=0.25)
model["graphs"]["pillars"].update(channels=(16, 64), width=16, queries=12000)
