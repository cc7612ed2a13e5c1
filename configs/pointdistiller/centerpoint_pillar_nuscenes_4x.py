# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on CenterPoint on pillars, nuScenes, 4x fewer parameters; not in the paper.

N 256, K 128 and 64 channels of the graph layers: what it has for nuScenes, on the neck.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.centerpoint_pillar_nuscenes import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teacher=dict(  # mmdet3d's model zoo
        model=teacher,
        checkpoint="data/centerpoint_02pillar_second_secfpn_circlenms_4x8_cyclic_20e_nus.pth",
    ),
    graphs=dict(
        neck=dict(tap="pts_neck[0]", channels=(192, 384), width=64, queries=256, neighbours=128)
    ),
)
