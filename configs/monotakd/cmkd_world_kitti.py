# SPDX-License-Identifier: Apache-2.0
"""CMKD on the embedded world in KITTI's layout: one camera learns from LiDAR, no assistant.

Weights are those of CMKD's release: 32 of the maps, 2 of the response.
"""

from mmengine.config import read_base

with read_base():
    from .monotakd_world_kitti import *

model = dict(
    type=MonoTAKD,
    student=camera_detector,
    teachers=dict(teacher=teacher),
    vis="bev_low",
    weights=dict(cross=32.0, response=2.0),
)
