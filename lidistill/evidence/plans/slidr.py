# SPDX-License-Identifier: Apache-2.0
"""SLidR by a linear probe: controls, and teachers that must differ."""

from lidistill.evidence.pretraining import (
    LABELLED,
    METHODS,
    METRIC,
    network,
    permuted,
    pretrained,
    random_start,
    raw_inputs,
)
from lidistill.evidence.table import Table
from lidistill.evidence.worlds import PAIRS

SLIDR = METHODS["SLidR"]


def table() -> Table:
    """Rows of the table."""
    return Table(
        method="slidr",
        world=PAIRS,
        metric=METRIC,
        score="probe",
        choices=("slidr_settings",),
        lines=[
            network(),
            network(LABELLED),
            random_start(),
            pretrained(
                "SLidR", SLIDR, note="image teacher trained on the world's images without labels"
            ),
            permuted(),
            pretrained(
                "noise targets",
                SLIDR,
                changes={"model.noise_targets": True},
                note="control of the control: random directions in place of image features",
            ),
            raw_inputs(),
            pretrained(
                "SLidR from plain colour",
                "configs/slidr/evidence_from_colour.py",
                teacher=None,
                note="gate: local mean colour in place of an image network",
            ),
            pretrained(
                "SLidR from a labelled teacher",
                SLIDR,
                LABELLED,
                "upper reference: the same image network, trained with labels",
            ),
        ],
    )
