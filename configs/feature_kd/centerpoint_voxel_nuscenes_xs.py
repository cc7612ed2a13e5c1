# SPDX-License-Identifier: Apache-2.0
"""SparseKD's student XS of CenterPoint on nuScenes' voxels: logits of six heads, PKD on the neck.

Factors 0.75 (encoder), 0.5 (backbone and neck), 0.5 (head); weight 15 of the logit term: SparseKD,
section 6 (there on Waymo); 20 epochs of nuScenes there. PKD at weight 10 is mmrazor's setting.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.detection_nuscenes import *
    from .._base_.detection_schedule import *
    from .._base_.runtime import *

from lidistill.distill.connectors import Conv1x1
from lidistill.distill.detectors.choices import Gaussian, Score
from lidistill.losses.feature import pearson_knowledge
from lidistill.losses.response import pivotal_logits
from lidistill.methods import FeatureKD
from lidistill.models.detectors.compress import compressed_detector
from lidistill.models.detectors.mmdet3d import mmdet3d_detector

shipped = "mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
pivotal = [dict(type=Gaussian), dict(type=Score, threshold=0.0, weigh=True)]
terms = {
    f"heatmap{head}": dict(
        loss=dict(type=pivotal_logits),
        tap=f"pts_bbox_head.task_heads.{head}.heatmap",
        places=pivotal,
        weight=15.0,
    )
    for head in range(6)
}
terms["neck"] = dict(
    loss=dict(type=pearson_knowledge),
    tap="pts_neck[0]",
    places=[dict(type=Gaussian)],
    connector=dict(type=Conv1x1, in_channels=256, out_channels=512),
    weight=10.0,
)
model = dict(
    type=FeatureKD,
    student=dict(type=compressed_detector, config=shipped, encoder=0.75, backbone=0.5, head=0.5),
    teachers=dict(
        teacher=dict(
            model=dict(type=mmdet3d_detector, config=shipped),
            checkpoint="data/centerpoint_voxel01_nuscenes.pth",
        )
    ),
    terms=terms,
)
max_iters = 20 * 28130 // 4
train_cfg.update(max_iters=max_iters)
param_scheduler[1].update(end=max_iters, T_max=max_iters)
