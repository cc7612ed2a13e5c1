# SPDX-License-Identifier: Apache-2.0
"""What image-to-LiDAR pretraining is worth to a segmentor with the labels of one scene of ten."""

import dataclasses

from lidistill.evidence.pretraining import (
    METHODS,
    RANDOM,
    finetuned,
    network,
    permuted,
    pretrained,
)
from lidistill.evidence.table import DOUBLINGS, STAGE, Line, Table
from lidistill.evidence.worlds import PAIRS


def curve(name: str, start: str | None = None) -> Line:
    """A segmentor from a pretraining, or from random weights."""
    line = finetuned(name, start, scenes=1, twin=None if start is None else RANDOM)
    return dataclasses.replace(line, curve=DOUBLINGS, iters=100)


def table() -> Table:
    """Curves from random weights, from each method, and from the negative control of SLidR."""
    starts = {name: f"{name}, pretraining" for name in METHODS}
    stages = [pretrained(starts[name], config, score=STAGE) for name, config in METHODS.items()]
    return Table(
        method="segmentation_plateau",
        world=PAIRS,
        metric="mIoU after fine-tuning on one scene",
        score="segmentation",
        choices=("slidr_settings",),
        lines=[
            network(),
            *stages,
            permuted(score=STAGE),
            curve(RANDOM),
            *(curve(name, start) for name, start in starts.items()),
            curve("SLidR, permuted regions", "permuted regions"),
        ],
    )
