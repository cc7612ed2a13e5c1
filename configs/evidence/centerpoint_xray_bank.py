# SPDX-License-Identifier: Apache-2.0
"""The bank of scenes without labels in X-Ray's table of few labels."""

from mmengine.config import read_base

with read_base():
    from .centerpoint_cars import *

from lidistill.engine.offline.tracked_bank import tracked_bank

tool = dict(type=tracked_bank, checkpoint="detector.pth", labelled=0.1, score=0.3)
