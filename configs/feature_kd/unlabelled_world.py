# SPDX-License-Identifier: Apache-2.0
"""A student that has a tenth of the labels; on all other frames its teacher alone trains it.

Embedded world, teacher as for PointDistiller. Its boxes say where to compare on frames without
labels; `docs/unlabelled.md`.
"""

from mmengine.config import read_base

with read_base():
    from .pointpillars_world import *

train_dataloader["dataset"].update(labelled=0.1)
model["unlabelled"] = dict(teacher="teacher", score=0.3)
