# SPDX-License-Identifier: Apache-2.0
"""X-Ray with a tenth of the labels; elsewhere the teacher's sure boxes are the student's labels.

The teacher's weights stay: no moving average. Its bank must hold tracks, not annotations, of the
frames without labels: ``semi_supervised_world.py`` makes all of it.
"""

from mmengine.config import read_base

with read_base():
    from .centerpoint_pillar_world import *

train_dataloader["dataset"].update(labelled=0.1)
model.update(pseudo=dict(teacher="teacher", score=0.3))
