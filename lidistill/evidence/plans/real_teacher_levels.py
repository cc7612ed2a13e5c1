# SPDX-License-Identifier: Apache-2.0
"""Which levels of EfficientNet-Lite tell the classes of real superpixels apart."""

from lidistill.evidence.plans.real_teachers import ALL, CONFIG, METRIC
from lidistill.evidence.real import FOLDS
from lidistill.evidence.table import Line, Table

LEVELS = "model.teacher.model.levels"


def table() -> Table:
    """All levels, and some of them alone; nothing is trained."""
    alone = {f"stride {level} alone": (level,) for level in (4, 8, 16, 32)}
    parts = {**alone, "strides 16 and 32": (16, 32)}
    return Table(
        method="real_teacher_levels",
        world=FOLDS,
        metric=METRIC,
        score="teacher regions",
        lines=[
            Line(ALL, CONFIG, steps=0),
            *(Line(name, CONFIG, {LEVELS: levels}, ALL, steps=0) for name, levels in parts.items()),
        ],
    )
