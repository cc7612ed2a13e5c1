# SPDX-License-Identifier: Apache-2.0
"""Where regions come from: what a source must offer, and SLIC as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.superpixels.slic import SlicParameters, slic_labels
from lidistill.converters.superpixels.store import Job


class RegionSource(Protocol):
    """Where regions come from; must survive pickling, for worker processes.

    Attributes:
        exact: whether the labels of an image are the same to the bit on every machine.
    """

    exact: ClassVar[bool]

    def recorded(self) -> dict[str, Any]:
        """Everything that changes the labels, for the manifest."""

    def prepare(self, jobs: Sequence[Job], others: Sequence[Job] = ()) -> list[Job]:
        """The jobs as `labels` wants them, in the same order; others are done elsewhere."""

    def labels(self, job: Job) -> NDArray[np.integer]:
        """(H, W) labels in 0..65534; 65535 = no region."""


@dataclass(frozen=True)
class SlicSource:
    """SLIC superpixels of the images."""

    exact: ClassVar[bool] = False

    parameters: SlicParameters

    def recorded(self) -> dict[str, Any]:
        """Parameters and the version of scikit-image."""
        slic = asdict(self.parameters)
        return {"method": "slic", **slic, "scikit_image": version("scikit-image")}

    def prepare(self, jobs: Sequence[Job], others: Sequence[Job] = ()) -> list[Job]:
        """The jobs as they are."""
        return list(jobs)

    def labels(self, job: Job) -> NDArray[np.integer]:
        """Superpixels of one image."""
        image = io.read_image(job.image, job.token)
        if job.size is not None and image.shape[:2] != job.size:
            raise io.DataError(
                f"Expected an image of {job.size[0]} x {job.size[1]} pixels as in the info file, "
                f"got {image.shape[0]} x {image.shape[1]}.",
                path=job.image,
                token=job.token,
                fix="restore the original image, or make the info file again with the files' "
                "sizes (lidistill create_data --restart, or your own script).",
            )
        return slic_labels(image, self.parameters)
