# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning with the labels of 1, 2, 4 and 8 real sequences, scored on one that was left out."""

from lidistill.evidence.plans.real_segmentation import SLIDR
from lidistill.evidence.pretraining import RANDOM, pretrained
from lidistill.evidence.real import FOLDS
from lidistill.evidence.table import ROW, STAGE, Line, Table

CONFIG = "configs/slidr/downstream/real_finetune.py"
STARTS = {
    "permuted regions": "configs/slidr/real_permuted.py",
    "SLidR": SLIDR,
    "PPKT": "configs/ppkt/real_pretrain.py",
    "ScaLR": "configs/scalr/real_pretrain.py",
}


def finetuned(start: str, sequences: int) -> Line:
    """A segmentor with the labels of so many sequences."""
    words = f"{sequences} sequence{'s' if sequences > 1 else ''}"
    changes = {
        "model.checkpoint": None if start == RANDOM else f"{ROW}{start}",
        "train_dataloader.dataset.scenes": sequences,
    }
    twin = None if start == RANDOM else f"{RANDOM}, {words}"
    return Line(f"{start}, {words}", CONFIG, changes, twin, iters=200)


def table() -> Table:
    """Every start with each number of labelled sequences."""
    stages = [
        pretrained(name, config, None, score=STAGE, iters=100) for name, config in STARTS.items()
    ]
    rows = [finetuned(start, n) for n in (1, 2, 4, 8) for start in (RANDOM, *STARTS)]
    return Table(
        method="real_finetuning",
        world=FOLDS,
        metric="mIoU over the classes that occur, after fine-tuning",
        score="segmentation",
        seeds=tuple(range(len(FOLDS.sequences))),
        lines=[*stages, *rows],
    )
