# SPDX-License-Identifier: Apache-2.0
"""CenterPoint on the embedded world, its pillars, backbone and neck pretrained by SLidR or not."""

from lidistill.evidence.detectors import MAP
from lidistill.evidence.pretraining import CHECKPOINT, IMAGES, network
from lidistill.evidence.table import ROW, STAGE, Line, Table
from lidistill.evidence.worlds import PAIRS

SCRATCH = "configs/slidr/downstream/centerpoint_world_scratch.py"
TRANSFER = "configs/slidr/downstream/centerpoint_world.py"
PRETRAIN = "configs/slidr/centerpoint_world_pretrain.py"


def table() -> Table:
    """The control's steps take the processor longer than both trainings."""
    return Table(
        method="detection_transfer",
        world=PAIRS,
        metric=MAP,
        score="detection",
        choices=("slidr_settings",),
        lines=[
            network(),
            Line("pretraining", PRETRAIN, {CHECKPOINT: f"{ROW}{IMAGES}"}, score=STAGE),
            Line("random start", SCRATCH, iters=600),
            Line(
                "SLidR",
                TRANSFER,
                {"custom_hooks.-1.checkpoint": f"{ROW}pretraining"},
                "random start",
                iters=600,
            ),
            Line("random start, 1.5 times as long", SCRATCH, {}, "random start", 1.5, iters=600),
        ],
    )
