# SPDX-License-Identifier: Apache-2.0
"""All of SparseKD (https://arxiv.org/abs/2205.15156), embedded world: logits, labels, start.

Score 0.6 of the teacher's boxes: its configs; channels by batch-norm gain, or ``by="first"``.
"""

from mmengine.config import read_base

with read_base():
    from .centerpoint_pillar_world import *

from lidistill.hooks import TeacherGuidedInit

model["labels"] = dict(teacher="teacher", score=0.6)
custom_hooks = [*custom_hooks, dict(type=TeacherGuidedInit, teacher="teacher", by="gain")]
