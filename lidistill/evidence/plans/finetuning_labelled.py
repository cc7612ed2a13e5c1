# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning from pretrainings by an image network trained with labels: the upper reference."""

from lidistill.evidence.pretraining import (
    LABELLED,
    METHODS,
    RANDOM,
    finetuned_from,
    network,
    pretrained,
)
from lidistill.evidence.table import STAGE, Table
from lidistill.evidence.worlds import PAIRS


def table() -> Table:
    """All four methods, and random weights again."""
    stages = {
        f"{name}, labelled teacher": pretrained(
            f"{name}, labelled teacher", config, LABELLED, score=STAGE
        )
        for name, config in METHODS.items()
    }
    return Table(
        method="finetuning_labelled",
        world=PAIRS,
        metric="mIoU after fine-tuning",
        score="segmentation",
        choices=("slidr_settings",),
        lines=[
            network(LABELLED),
            *stages.values(),
            *finetuned_from({RANDOM: None, **{name: name for name in stages}}),
        ],
    )
