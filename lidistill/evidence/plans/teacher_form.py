# SPDX-License-Identifier: Apache-2.0
"""Do our defaults on the teacher's side cost quality? One image network in two forms."""

from lidistill.evidence.pretraining import IMAGES, METRIC, network, pretrained, random_start
from lidistill.evidence.table import Table
from lidistill.evidence.worlds import PAIRS

AUTHORS = "configs/slidr/teacher_form_authors.py"
OURS = "configs/slidr/teacher_form_default.py"
BFLOAT16 = {
    "model.teacher.autocast": "bfloat16",
    "optim_wrapper.type": "lidistill.engine.amp.BFloat16OptimWrapper",  # as --amp
}


def table() -> Table:
    """Rows of the table."""
    return Table(
        method="teacher_form",
        world=PAIRS,
        metric=METRIC,
        score="probe",
        lines=[
            network(IMAGES, "configs/slidr/teacher_form_network.py"),
            random_start(),
            pretrained(
                "authors' form", AUTHORS, note="dilated to stride 4, upsampled to every pixel"
            ),
            pretrained(
                "our default", OURS, note="the same weights at stride 16, read between the cells"
            ),
            pretrained(
                "our default, bfloat16",
                OURS,
                changes=BFLOAT16,
                note="teacher and student under bfloat16 autocast",
            ),
        ],
    )
