# SPDX-License-Identifier: Apache-2.0
"""ScaLR on the embedded world: SLidR's demo with one whole image a sample and no image head.

No stage of the demo, so name a teacher that was trained before, for example
``--cfg-options model.teacher.checkpoint=work_dirs/demo/image_teacher/iter_1000.pth``; ``random``
leaves random weights.
"""

from mmengine.config import read_base

with read_base():
    from ..slidr.demo_pretrain import *

from lidistill.datasets.transforms import ResizeImages, SampleCameras
from lidistill.methods import ScaLR

train_pipeline = [
    dict(type=LoadPoints),
    dict(type=SampleCameras, count=1),
    dict(type=LoadImages),
    dict(type=PairPoints),
    dict(type=RotateFlipPoints),
    dict(type=ResizeImages, size=(112, 208)),
    voxelize,
    dict(type=PackPairs),
]
train_dataloader["dataset"].update(superpixels_dir=None, pipeline=train_pipeline)

model = dict(
    type=ScaLR,
    student=model["student"],
    teacher=model["teacher"],
    point_head=dict(type=Linear, in_features=planes[-1], out_features=64),
)
