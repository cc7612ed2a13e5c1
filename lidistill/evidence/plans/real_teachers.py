# SPDX-License-Identifier: Apache-2.0
"""What image teachers know of real superpixels, before anything is distilled from them."""

from typing import Any

from lidistill.evidence.real import FOLDS
from lidistill.evidence.table import Line, Table

CONFIG = "configs/slidr/real_pretrain.py"
WEIGHTS = "model.teacher.model.weights"
COLOUR = "mean and deviation of colour"
ALL = "EfficientNet-Lite, strides 4 to 32"
METRIC = "linear-probe mIoU of superpixels over the classes that occur"


def teacher(name: str, config: str = CONFIG, **more: Any) -> Line:
    """An image network beside plain colour; nothing is trained."""
    return Line(name, config, twin=None if name == COLOUR else COLOUR, steps=0, **more)


def table() -> Table:
    """Colour, the network with random weights, the network."""
    return Table(
        method="real_teachers",
        world=FOLDS,
        metric=METRIC,
        score="teacher regions",
        lines=[
            teacher(COLOUR, "configs/slidr/real_from_colour.py"),
            teacher(
                "random EfficientNet-Lite",
                changes={WEIGHTS: "random"},
                note="control: the same network with weights as drawn",
            ),
            teacher(ALL, note="as the pretrainings use it"),
        ],
    )
