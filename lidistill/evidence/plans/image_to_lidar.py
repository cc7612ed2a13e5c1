# SPDX-License-Identifier: Apache-2.0
"""The image-to-LiDAR family in one table: the same student and teachers, four objectives."""

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

UPPER = "upper reference: the same image network, trained with labels"


def table() -> Table:
    """Rows of the table; trainings are shared with ``lidistill evidence slidr``."""
    labelled = [
        pretrained(f"{name}, labelled teacher", config, LABELLED, UPPER)
        for name, config in METHODS.items()
    ]
    return Table(
        method="image_to_lidar",
        world=PAIRS,
        metric=METRIC,
        score="probe",
        choices=("slidr_settings",),
        lines=[
            network(),
            network(LABELLED),
            random_start(),
            raw_inputs(),
            permuted(),
            *(pretrained(name, config) for name, config in METHODS.items()),
            *labelled,
        ],
    )
