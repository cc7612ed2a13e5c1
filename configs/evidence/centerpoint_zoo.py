# SPDX-License-Identifier: Apache-2.0
"""One objective of the zoo at a time in the plateau table: a quarter of the channels."""

from mmengine.config import read_base

with read_base():
    from .._base_.zoo_center import *
    from .centerpoint import *

from lidistill.methods import FeatureKD
from lidistill.models.detectors.compress import compressed_detector

teacher = model
for terms in zoo.values():
    for term in terms.values():
        for key in {"in_channels", "in_features"} & set(term.get("connector", {})):
            term["connector"][key] = 3 * width // 4  # the student's neck
model = dict(
    type=FeatureKD,
    student=dict(teacher, type=compressed_detector, encoder=0.25, backbone=0.25, head=0.25),
    teachers=dict(
        teacher=dict(model=teacher, checkpoint=f"work_dirs/centerpoint/iter_{max_iters}.pth")
    ),
    terms=zoo["pkd"],
)
