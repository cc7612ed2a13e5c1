# SPDX-License-Identifier: Apache-2.0
"""PointDistiller as published: PointPillars on nuScenes, 4x smaller (paper, nuScenes table)."""

from mmengine.config import read_base

with read_base():
    from .pointpillars_nuscenes_2x import *

model["student"].update(encoder=0.5, backbone=0.5, head=0.5)
model["graphs"]["neck"].update(channels=(128, 256))
