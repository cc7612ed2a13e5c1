# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR on the embedded world: SLidR's demo with tolerant weights and class balance.

No stage of the demo, so name a teacher that was trained before, for example
``--cfg-options model.teacher.checkpoint=work_dirs/demo/image_teacher/iter_1000.pth``; ``random``
leaves random weights.
"""

from mmengine.config import read_base

with read_base():
    from ..slidr.demo_pretrain import *

from lidistill.methods import STSLidR

model.update(type=STSLidR, min_quantile=0.01, class_balance=True)
