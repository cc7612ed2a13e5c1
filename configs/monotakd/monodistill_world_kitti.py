# SPDX-License-Identifier: Apache-2.0
"""After MonoDistill: one camera learns from its own network on images of depth.

Features inside objects and similarities between places of the map, as its scene-level and
object-level terms; its term of answers is left out. Its maps are of images, ours from above.
"""

from mmengine.config import read_base

with read_base():
    from .monodistill_world_kitti_teacher import *

from lidistill.distill.detectors.bev_choices import Footprint
from lidistill.distill.detectors.choices import RandomPlaces
from lidistill.losses.bev import squared
from lidistill.losses.relation import similarity_preserving
from lidistill.methods import FeatureKD

test_dataloader["dataset"].update(pipeline=test_pipeline)
model = dict(
    type=FeatureKD,
    student=camera_detector,
    teachers=dict(
        teacher=dict(
            model=teacher_detector,
            checkpoint=f"work_dirs/monodistill_world_kitti_teacher/iter_{max_iters}.pth",
        )
    ),
    terms=dict(
        objects=dict(
            loss=squared, tap="bev_low", places=[dict(type=Footprint, size_weight="none")]
        ),
        affinity=dict(
            loss=similarity_preserving, tap="bev_low", places=[dict(type=RandomPlaces, count=2048)]
        ),
    ),
)
