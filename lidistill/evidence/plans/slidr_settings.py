# SPDX-License-Identifier: Apache-2.0
"""SLidR's temperature and learning rate for short runs: on the world kept for choices."""

from lidistill.evidence.pretraining import METHODS, METRIC, network, pretrained, random_start
from lidistill.evidence.table import Table
from lidistill.evidence.worlds import PAIRS

RATE, TEMPERATURE = "optim_wrapper.optimizer.lr", "model.temperature"
VARIANTS = {
    "temperature 0.1, rate 3e-3": {},  # the config's
    "temperature 0.07": {TEMPERATURE: 0.07},  # the paper's
    "temperature 0.2": {TEMPERATURE: 0.2},
    "rate 1e-3": {RATE: 1e-3},
    "rate 1e-2": {RATE: 1e-2},
}


def table() -> Table:
    """Random weights and each variant."""
    variants = [pretrained(name, METHODS["SLidR"], changes=more) for name, more in VARIANTS.items()]
    return Table(
        method="slidr_settings",
        world=PAIRS,
        metric=METRIC,
        score="probe",
        kind="choice",
        lines=[network(), random_start(), *variants],
    )
