# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning with the labels of one scene and of all scenes, from each pretraining."""

from lidistill.evidence.pretraining import (
    LABELLED,
    METHODS,
    RANDOM,
    finetuned_from,
    network,
    permuted,
    pretrained,
)
from lidistill.evidence.table import STAGE, Table
from lidistill.evidence.worlds import PAIRS

FROM_LABELS = "SLidR, labelled teacher"


def table() -> Table:
    """From the self-supervised image network, its controls, and SLidR from the labelled one."""
    stages = [network(), network(LABELLED), permuted(score=STAGE)]
    stages += [pretrained(name, config, score=STAGE) for name, config in METHODS.items()]
    stages += [pretrained(FROM_LABELS, METHODS["SLidR"], LABELLED, score=STAGE)]
    starts = {name: name for name in ("permuted regions", *METHODS, FROM_LABELS)}
    return Table(
        method="finetuning",
        world=PAIRS,
        metric="mIoU after fine-tuning",
        score="segmentation",
        choices=("slidr_settings",),
        lines=[*stages, *finetuned_from({RANDOM: None, **starts})],
    )
