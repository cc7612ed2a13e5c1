# SPDX-License-Identifier: Apache-2.0
"""ScaLR's objective and schedule with MinkUNet-34 and a frozen DINOv2 ViT-L/14, on nuScenes.

Give the teacher: ``--cfg-options model.teacher.model.directory=DIR`` with a local copy of
``facebook/dinov2-large``. No superpixels are needed. Add ``--amp`` (bfloat16; theirs: float16).
Numbers: ScaLR, CVPR 2024, and the authors' ``configs/pretrain/WI_768_pretrain.yaml``.
Not as theirs: the network (WaffleIron-48-768 there, on at most 20,000 points), the data (nuScenes
alone; four datasets there), scaling of the cloud by up to 10 % (left out).
"""

from mmengine.config import read_base

with read_base():
    from ..slidr.minkunet_r50_nuscenes import *

from mmengine.optim import LinearLR
from torch.optim import AdamW

from lidistill.datasets.transforms import ResizeImages, SampleCameras
from lidistill.methods import ScaLR
from lidistill.models.teachers.vit import ViTTeacher

warmup = 3500  # iterations
epochs = 25
max_iters = epochs * keyframes // 8

train_pipeline = [
    dict(type=LoadPoints),
    dict(type=SampleCameras, count=1),
    dict(type=LoadImages),
    dict(type=PairPoints),
    dict(type=RotateFlipPoints),
    dict(type=ResizeImages, size=(224, 448)),  # whole images, 16 x 32 patches
    voxelize,
    dict(type=PackPairs),
]
train_dataloader.update(batch_size=8)
train_dataloader["dataset"].update(superpixels_dir=None, pipeline=train_pipeline)

model = dict(
    type=ScaLR,
    student=model["student"],
    # tokens before the last norm: "x_pre_norm" of the release
    teacher=dict(model=dict(type=ViTTeacher, directory="data/dinov2-large", final_norm=False)),
    point_head=dict(type=Linear, in_features=96, out_features=1024),
)
train_cfg.update(max_iters=max_iters)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=2e-3, weight_decay=0.03))
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-3, by_epoch=False, begin=0, end=warmup),
    dict(
        type=CosineAnnealingLR,
        by_epoch=False,
        begin=warmup,
        end=max_iters,
        T_max=max_iters - warmup,
        eta_min=1e-5,
    ),
]
