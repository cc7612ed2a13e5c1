# SPDX-License-Identifier: Apache-2.0
"""PointDistiller as published: PointPillars on nuScenes, 2x smaller (paper, nuScenes table).

N 256, K 128 and 64 channels of the graph layers, on the pyramid's finest level: the authors' code.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.pointpillars_nuscenes import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.71, backbone=0.71, head=0.71),
    teacher=dict(  # mmdet3d's model zoo
        model=teacher, checkpoint="data/hv_pointpillars_fpn_sbn-all_4x8_2x_nus-3d.pth"
    ),
    graphs=dict(
        neck=dict(tap="pts_neck[0]", channels=(182, 256), width=64, queries=256, neighbours=128)
    ),
)
