# SPDX-License-Identifier: Apache-2.0
"""What a BEV detector does to a raw batch: mmdet3d's preprocessor, for the sensors it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor

MMDET3D = {"lidar": "points", "camera": "img"}


class BEVInputs(BaseDataPreprocessor):
    """mmdet3d's ``Det3DDataPreprocessor`` that leaves alone what its detector does not look at.

    Args:
        sensors: of ``"lidar"``, ``"camera"``.
        images, depth: what of the batch a camera's are; a teacher may read other ones than its
            student (:mod:`lidistill.datasets.bev.privileged`).
        options: of mmdet3d's.
    """

    def __init__(
        self, sensors: Sequence[str], images: str = "img", depth: str = "depth", **options: Any
    ) -> None:
        from mmdet3d.models import Det3DDataPreprocessor

        super().__init__()
        if "lidar" not in sensors:
            options["voxel"] = False
        if "camera" not in sensors:
            options.update(mean=None, std=None)
        self.sensors, self.depth = tuple(sensors), depth
        self.keys = {"lidar": "points", "camera": images}
        self.inner = Det3DDataPreprocessor(**options)  # mmengine sets its device with the model's

    @property
    def voxel_layer(self) -> Any:
        """Of mmdet3d; there is none in a detector without LiDAR."""
        return self.inner.voxel_layer

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Voxels of the points, normalised images (B, N, 3, H, W), depths (B, N, h, w).

        Raises:
            ValueError: the batch lacks a sensor of the detector.
        """
        given = data["inputs"]
        for sensor in self.sensors:
            key = self.keys[sensor]
            if key not in given:
                raise ValueError(
                    f"the detector has a {sensor}, but the batch has no {key!r}, only "
                    f"{sorted(given)}; load it in the pipeline and name it in PackBEV, or leave "
                    f"{sensor!r} out of the detector's sensors"
                )
        inputs = {MMDET3D[sensor]: given[self.keys[sensor]] for sensor in self.sensors}
        done: dict[str, Any] = self.inner({**data, "inputs": inputs}, training)
        if "camera" in self.sensors and self.depth in given:
            done["inputs"]["depth"] = torch.stack(list(self.inner.cast_data(given[self.depth])))
        return done
