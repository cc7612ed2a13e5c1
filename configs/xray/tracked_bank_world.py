# SPDX-License-Identifier: Apache-2.0
"""A bank of scenes without labels, embedded world: a detector's boxes, linked into tracks."""

from mmengine.config import read_base

with read_base():
    from ..detection.centerpoint_pillar_world import *

from lidistill.engine.offline.tracked_bank import tracked_bank

tool = dict(type=tracked_bank, checkpoint="detector.pth", labelled=0.1, score=0.3)
