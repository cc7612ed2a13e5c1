# SPDX-License-Identifier: Apache-2.0
"""What image teachers know of real superpixels, before anything is distilled from them."""

from typing import Any

from lidistill.evidence.real import FOLDS
from lidistill.evidence.table import Line, Table

CONFIG = "configs/slidr/real_pretrain.py"
LEVELS, WEIGHTS = "model.teacher.model.levels", "model.teacher.model.weights"
COLOUR = "mean and deviation of colour"


def teacher(name: str, config: str = CONFIG, **more: Any) -> Line:
    """An image network beside plain colour; nothing is trained."""
    return Line(name, config, twin=None if name == COLOUR else COLOUR, steps=0, **more)


def table() -> Table:
    """Each teacher, and each of the levels of EfficientNet-Lite alone."""
    return Table(
        method="real_teachers",
        world=FOLDS,
        metric="linear-probe mIoU of superpixels over the classes that occur",
        score="teacher regions",
        seeds=tuple(range(len(FOLDS.sequences))),
        lines=[
            teacher(COLOUR, "configs/slidr/real_from_colour.py"),
            teacher(
                "random EfficientNet-Lite",
                changes={WEIGHTS: "random"},
                note="control: the same network with weights as drawn",
            ),
            teacher("EfficientNet-Lite, strides 4 to 32", note="as the pretrainings use it"),
            *(
                teacher(f"EfficientNet-Lite, stride {level} alone", changes={LEVELS: (level,)})
                for level in (4, 8, 16, 32)
            ),
            teacher("EfficientNet-Lite, strides 16 and 32", changes={LEVELS: (16, 32)}),
        ],
    )
