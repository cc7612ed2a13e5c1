# SPDX-License-Identifier: Apache-2.0
"""Image-to-LiDAR pretraining on real drives: a linear probe on a sequence that was left out."""

import dataclasses

from lidistill.evidence.pretraining import CHECKPOINT, RANDOM, network, pretrained
from lidistill.evidence.real import FOLDS
from lidistill.evidence.table import ROW, Line, Table

SLIDR = "configs/slidr/real_pretrain.py"
IMAGES = "own image network"
FROM_COLOUR = "configs/slidr/real_from_colour.py"
NO_REFLECTANCE = "configs/slidr/real_no_reflectance.py"
PERMUTED = "negative control: image features permuted over the regions of the batch"
COLOUR = "gate: local mean and deviation of the colour in place of an image network"
NOISE = "control of the control: random directions in place of image features"
EFFICIENTNET = "image teacher: EfficientNet-Lite0, ImageNet with labels"


def table() -> Table:
    """Rows of the table; each seed is a fold with weights of its own."""
    return Table(
        method="real_segmentation",
        world=FOLDS,
        metric="linear-probe mIoU over the classes that occur",
        score="own probe",
        iters=100,  # a first look; the configs' own are 300
        choices=("slidr_settings",),
        seeds=tuple(range(len(FOLDS.sequences))),
        lines=[
            dataclasses.replace(network(IMAGES, "configs/slidr/real_teacher.py"), iters=600),
            Line(RANDOM, SLIDR, steps=0),
            pretrained("SLidR", SLIDR, None, EFFICIENTNET),
            pretrained("permuted regions", "configs/slidr/real_permuted.py", None, PERMUTED),
            pretrained("ScaLR", "configs/scalr/real_pretrain.py", None, EFFICIENTNET),
            pretrained("PPKT", "configs/ppkt/real_pretrain.py", None, EFFICIENTNET),
            pretrained(
                "SLidR from plain colour", "configs/slidr/real_from_colour.py", None, COLOUR
            ),
            pretrained("noise targets", SLIDR, None, NOISE, {"model.noise_targets": True}),
            pretrained(
                "SLidR from its own image network",
                "configs/slidr/real_own_teacher.py",
                None,
                "image network trained on the same images without labels",
                {CHECKPOINT: f"{ROW}{IMAGES}"},
            ),
            Line(f"{RANDOM}, no reflectance", NO_REFLECTANCE, steps=0),
            dataclasses.replace(
                pretrained("SLidR, no reflectance", NO_REFLECTANCE, None, EFFICIENTNET),
                twin=f"{RANDOM}, no reflectance",
            ),
        ],
    )
