# SPDX-License-Identifier: Apache-2.0
"""What X-Ray makes of scenes that nobody labelled: one labelled scene of ten."""

from typing import Any

from lidistill.evidence.detectors import STUDENT
from lidistill.evidence.plans.xray import COMPLETE_TEACHER, ITERS, METRIC, ORDINARY_FRAMES, XRAY
from lidistill.evidence.table import ROW, STAGE, Line, Table
from lidistill.evidence.worlds import COMPLETE

MEAN_TEACHER = "configs/evidence/centerpoint_mean_teacher.py"
BANK = "configs/evidence/centerpoint_xray_bank.py"
ONE = {"train_dataloader.dataset.scenes": 1}  # the other nine scenes are left out
REST = {"train_dataloader.dataset.labelled": 0.1}  # they are there without labels
PLACE = "train_dataloader.dataset.dataset.pipeline.1.bank"  # of ComposeObjectComplete
DETECTOR, TRACKED, TEACHER = "detector of one scene", "bank of tracks", "teacher of one scene"
FACTORS = (2, 4, 8)
LONGEST = FACTORS[-1]  # teachers of 2x label two boxes a frame: too few


def pseudo(score: float = 0.3) -> dict[str, Any]:
    """The teacher's sure boxes are labels where there are none."""
    return {"model.pseudo": {"teacher": "teacher", "score": score}}


def table() -> Table:
    """Supervised alone, Mean Teacher and X-Ray, with one labelled scene."""
    bank = {PLACE: f"{ROW}{TRACKED}"}
    xray = {**REST, **bank, **pseudo(), "model.teacher.checkpoint": f"{ROW}{TEACHER}"}
    return Table(
        method="xray_few_labels",
        world=COMPLETE,
        metric=f"{METRIC}, one labelled scene of ten",
        score="detection",
        classes=("car",),
        iters=ITERS,
        lines=[
            Line(DETECTOR, ORDINARY_FRAMES, ONE, steps=LONGEST, score=STAGE),
            Line(TRACKED, BANK, {"tool.checkpoint": f"{ROW}{DETECTOR}"}, score=STAGE),
            Line(TEACHER, COMPLETE_TEACHER, {**ONE, **bank}, steps=LONGEST, score=STAGE),
            Line(STUDENT, ORDINARY_FRAMES, ONE, curve=FACTORS),
            Line(
                f"{STUDENT} + Mean Teacher",
                MEAN_TEACHER,
                {**REST, "custom_hooks.-2.checkpoint": f"{ROW}{DETECTOR}"},
                STUDENT,
                curve=FACTORS,
                note="begins as the detector of one scene",
            ),
            Line(f"{STUDENT} + X-Ray", XRAY, xray, STUDENT, curve=FACTORS),
        ],
    )
