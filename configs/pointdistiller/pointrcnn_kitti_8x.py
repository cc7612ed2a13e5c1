# SPDX-License-Identifier: Apache-2.0
"""PointDistiller as published: PointRCNN on KITTI, 8x fewer parameters (paper, KITTI table).

N 6000, K 128, a maximum over neighbours, and graph layers as wide as the student: its code.
"""

from mmengine.config import read_base

with read_base():
    from ..detection.pointrcnn_kitti import *

from lidistill.methods import PointDistiller
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=PointDistiller,
    student=dict(teacher, type=compressed_detector, encoder=0.355, backbone=0.355, head=0.355),
    teacher=dict(  # mmdet3d's model zoo
        model=teacher, checkpoint="data/point_rcnn_2x8_kitti-3d-3classes.pth"
    ),
    graphs=dict(
        points=dict(
            tap="neck.FP_modules.3", channels=(45, 128), width=45, queries=6000, neighbours=128
        )
    ),
    pool="max",
)
