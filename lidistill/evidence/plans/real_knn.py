# SPDX-License-Identifier: Apache-2.0
"""The networks of ``real_segmentation`` under a probe that trains nothing."""

import dataclasses

from lidistill.evidence.plans import real_segmentation
from lidistill.evidence.table import Table


def table() -> Table:
    """The same rows, the same trainings."""
    return dataclasses.replace(
        real_segmentation.table(),
        method="real_knn",
        metric="nearest-neighbour mIoU over the classes that occur",
        score="own neighbours",
    )
