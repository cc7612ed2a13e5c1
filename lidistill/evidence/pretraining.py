# SPDX-License-Identifier: Apache-2.0
"""Lines that tables of image-to-LiDAR pretraining share: image networks, pretrainings, probes."""

from __future__ import annotations

from typing import Any

from lidistill.evidence.table import ROW, STAGE, Line

RANDOM = "random weights"
METRIC = "linear-probe mIoU"
CHECKPOINT = "model.teacher.checkpoint"
IMAGES = "image network"
LABELLED = "labelled image network"
NETWORKS = {
    IMAGES: "configs/slidr/demo_teacher.py",
    LABELLED: "configs/slidr/evidence_teacher_labels.py",
}
METHODS = {
    "PPKT": "configs/ppkt/demo_pretrain.py",
    "SLidR": "configs/slidr/demo_pretrain.py",
    "ST-SLidR": "configs/stslidr/demo_pretrain.py",
    "ScaLR": "configs/scalr/demo_pretrain.py",
}


def network(name: str = IMAGES, config: str = "") -> Line:
    """An image network that pretrainings learn from."""
    return Line(name, config or NETWORKS[name], score=STAGE)


def pretrained(
    name: str,
    config: str,
    teacher: str | None = IMAGES,
    note: str = "",
    changes: dict[str, Any] | None = None,
    **others: Any,
) -> Line:
    """A pretrained student, beside random weights."""
    given = dict(changes or {})
    if teacher is not None:
        given[CHECKPOINT] = f"{ROW}{teacher}"
    return Line(name, config, given, RANDOM, note=note, **others)


def random_start() -> Line:
    """The student as it starts."""
    return Line(RANDOM, METHODS["SLidR"], {CHECKPOINT: None}, steps=0)


def raw_inputs() -> Line:
    """An MLP on what the student sees of each point."""
    return Line(
        "MLP on raw inputs",
        METHODS["SLidR"],
        {CHECKPOINT: None},
        RANDOM,
        steps=0,
        score="raw inputs",
        note="control: intensity and height of each point, no network",
    )


def permuted(**others: Any) -> Line:
    """The negative control of SLidR."""
    return pretrained(
        "permuted regions",
        "configs/slidr/demo_permuted.py",
        note="negative control: image features permuted over the regions of the batch",
        **others,
    )


def finetuned(name: str, start: str | None, scenes: int | None, twin: str | None) -> Line:
    """A segmentor trained with the labels of some scenes, None for all; ``start`` None: random."""
    changes = {
        "model.checkpoint": None if start is None else f"{ROW}{start}",
        "train_dataloader.dataset.scenes": scenes,
    }
    return Line(name, "configs/slidr/downstream/demo_finetune.py", changes, twin)


def finetuned_from(starts: dict[str, str | None]) -> list[Line]:
    """Segmentors with one and with all scenes: name -> line they start from, None at random."""
    labels = {"1 scene": 1, "all scenes": None}
    return [
        finetuned(
            f"{name}, {words}", start, scenes, None if start is None else f"{RANDOM}, {words}"
        )
        for words, scenes in labels.items()
        for name, start in starts.items()
    ]
