# SPDX-License-Identifier: Apache-2.0
"""Label distillation from a cached teacher, embedded world."""

from mmengine.config import read_base

with read_base():
    from ...configs.feature_kd.pointpillars_world import *

from lidistill.distill.caches.detections import ReplayCache

model["terms"] = {}
model["labels"] = dict(score=0.0)
model["teachers"]["teacher"].update(
    checkpoint="random", cache=dict(type=ReplayCache, folder="work_dirs/teacher_boxes")
)
model["teachers"]["teacher"]["model"]["changes"].update(test_cfg=dict(score_thr=0.0, max_num=20))
