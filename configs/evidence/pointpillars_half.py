# SPDX-License-Identifier: Apache-2.0
"""PointPillars of the plateau tables with half of its channels."""

from mmengine.config import read_base

with read_base():
    from .pointpillars import *

from lidistill.models.detectors.compress import compressed_detector

model = dict(model, type=compressed_detector, encoder=0.5, backbone=0.5, head=0.5)
