# SPDX-License-Identifier: Apache-2.0
"""What SLidR's pretraining is worth to a CenterPoint with the labels of two scenes of ten."""

from lidistill.evidence.pretraining import CHECKPOINT, IMAGES, network
from lidistill.evidence.table import DOUBLINGS, ROW, STAGE, Line, Table
from lidistill.evidence.worlds import PAIRS

SCRATCH = "configs/evidence/centerpoint.py"
TRANSFER = "configs/evidence/centerpoint_transfer.py"
PRETRAIN = "configs/evidence/centerpoint_pretrain.py"
LABELS = {"train_dataloader.dataset.scenes": 2}
START = "custom_hooks.-1.checkpoint"
TEACHER = {CHECKPOINT: f"{ROW}{IMAGES}"}


def curve(name: str, config: str, start: str = "", note: str = "") -> Line:
    """A detector from a pretraining, or from a random start."""
    changes = {**LABELS, START: f"{ROW}{start}"} if start else LABELS
    twin = "random start" if start else None
    return Line(name, config, changes, twin, curve=DOUBLINGS, iters=100, note=note)


def table() -> Table:
    """Curves from a random start, from SLidR and from its negative control."""
    permuted = {**TEACHER, "model.permute_regions": True}
    return Table(
        method="detection_plateau",
        world=PAIRS,
        metric="mean AP of nuScenes' detection benchmark over three classes, two labelled scenes",
        score="detection",
        classes=("car", "truck", "pedestrian"),
        choices=("slidr_settings",),
        lines=[
            network(),
            Line("pretraining", PRETRAIN, TEACHER, score=STAGE),
            Line("pretraining, permuted", PRETRAIN, permuted, score=STAGE),
            curve("random start", SCRATCH),
            curve("SLidR", TRANSFER, "pretraining"),
            curve(
                "permuted regions", TRANSFER, "pretraining, permuted", "negative control of SLidR"
            ),
        ],
    )
