# SPDX-License-Identifier: Apache-2.0
"""X-Ray on PointPillars in the table of real drives: student and teacher are the same network.

Objects are completed behind the choice of boxes: a box without a point of its own teaches nobody.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.xray_center import *
    from .pointpillars_half import *

both.update(bank=f"{data_root}/object_bank")
train_dataloader["dataset"]["dataset"].update(
    pipeline=[*load_points, *load_boxes, both, *augment, *pack_train, split]
)
checkpoint = f"work_dirs/pointpillars_xray_teacher/iter_{max_iters}.pth"
xray.update(
    feature="neck[0]",
    heads=[dict(classes="bbox_head.conv_cls", boxes=["bbox_head.conv_reg"], anchors=2)],
)
model = dict(xray, student=model, teacher=dict(model=model, checkpoint=checkpoint))
