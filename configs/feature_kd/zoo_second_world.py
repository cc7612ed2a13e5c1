# SPDX-License-Identifier: Apache-2.0
"""One objective of the zoo at a time on SECOND, embedded world: ``zoo`` has them all.

``lidistill evidence zoo_second`` compares them; here PKD, as an example.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.zoo_anchor import *
    from ..detection.second_world import *

from lidistill.methods import FeatureKD
from lidistill.models.detectors.compress import compressed_detector

teacher = model
model = dict(
    type=FeatureKD,
    student=dict(teacher, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5),
    teachers=dict(
        teacher=dict(model=teacher, checkpoint=f"work_dirs/second_world/iter_{max_iters}.pth")
    ),
    terms=zoo["pkd"],
)
