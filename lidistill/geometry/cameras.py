# SPDX-License-Identifier: Apache-2.0
"""The cameras of a batch as bird's-eye-view networks need them: matrices, augmentation included.

Frames: a sample's points and boxes live in its LiDAR frame after the BEV augmentation; an image in
pixels after the image augmentation. One matrix takes a point to a pixel::

    image_from_lidar = image_aug @ intrinsics @ camera_from_lidar @ inverse(lidar_aug)

It maps (x, y, z, 1) to (u d, v d, d, 1) with d the depth in metres along the optical axis, which no
augmentation changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEYS = ("cam2img", "lidar2cam", "img_aug_matrix")
"""Of a sample's metainfo, mmdet3d's names: (N, 4, 4) each; ``lidar_aug_matrix`` is (4, 4)."""


@dataclass(frozen=True)
class Cameras:
    """N cameras of B samples; float64 on the host, so that a plan's key costs no synchronisation.

    Attributes:
        intrinsics: (B, N, 4, 4) pixels of the stored image from the camera frame.
        camera_from_lidar: (B, N, 4, 4) before the BEV augmentation.
        image_aug: (B, N, 4, 4) augmented pixels from stored ones: acts on (u d, v d, d, 1).
        lidar_aug: (B, 4, 4) augmented points from recorded ones.
        present: (B, N) bool; False where the image is missing.
    """

    intrinsics: NDArray[np.float64]
    camera_from_lidar: NDArray[np.float64]
    image_aug: NDArray[np.float64]
    lidar_aug: NDArray[np.float64]
    present: NDArray[np.bool_]

    @classmethod
    def of_samples(cls, metainfos: Sequence[Mapping[str, Any]]) -> Cameras:
        """Stack what the samples' metainfo says.

        Args:
            metainfos: one a sample, with :data:`KEYS`; ``lidar_aug_matrix`` and ``cam_present``
                where there are such.

        Raises:
            ValueError: a sample lacks a key, or samples have unequal numbers of cameras.
        """
        for row, info in enumerate(metainfos):
            lacking = [key for key in KEYS if key not in info]
            if lacking:
                raise ValueError(
                    f"sample {row} of the batch has no {', '.join(lacking)} in its metainfo: it "
                    "was loaded without cameras; put LoadCameras and PackBEV into the pipeline"
                )
        stacks = []
        for key in KEYS:
            matrices = [np.asarray(info[key], dtype=np.float64) for info in metainfos]
            shapes = {matrix.shape for matrix in matrices}
            if len(shapes) > 1 or next(iter(shapes))[1:] != (4, 4):
                raise ValueError(
                    f"expected {key} (N, 4, 4) with one N for the batch, got {sorted(shapes)}; "
                    "name the cameras in LoadCameras, so that every sample has the same"
                )
            stacks.append(np.stack(matrices))
        count = stacks[0].shape[:2]
        turns = [info.get("lidar_aug_matrix", np.eye(4)) for info in metainfos]
        present = [info.get("cam_present", np.ones(count[1], bool)) for info in metainfos]
        return cls(
            intrinsics=stacks[0],
            camera_from_lidar=stacks[1],
            image_aug=stacks[2],
            lidar_aug=np.stack(turns).astype(np.float64),
            present=np.stack(present).astype(bool),
        )

    @property
    def image_from_lidar(self) -> NDArray[np.float64]:
        """(B, N, 4, 4) from augmented points to (u d, v d, d, 1) of augmented images."""
        back = np.linalg.inv(self.lidar_aug)[:, None]
        matrix: NDArray[np.float64] = (
            self.image_aug @ self.intrinsics @ self.camera_from_lidar @ back
        )
        return matrix

    def lidar_from_image(self) -> NDArray[np.float64]:
        """(B, N, 3, 4) from (u d, v d, d, 1) to augmented points: one matrix a camera."""
        return np.ascontiguousarray(np.linalg.inv(self.image_from_lidar)[:, :, :3])

    def numbers(self) -> NDArray[np.float32]:
        """(B, N, 27) what a camera-aware network is told.

        fx, fy, cx, cy of the stored image; the image augmentation's two rows (a, b, shift); the BEV
        augmentation's x and y block and its zz; then the camera's pose (3, 4), row by row.

        Source: BEVDepth (2206.10092), section 3.3; order as in its release. Differs from it: the
        pose is that in the LiDAR frame, in which mmdet3d's boxes are.
        """
        k, aug, turn = self.intrinsics, self.image_aug, self.lidar_aug[:, None]
        turn = np.broadcast_to(turn, aug.shape)
        pose = np.linalg.inv(self.camera_from_lidar)[..., :3, :]
        parts = [k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2]]
        parts += [aug[..., row, column] for row in (0, 1) for column in (0, 1, 2)]
        parts += [turn[..., 0, 0], turn[..., 0, 1], turn[..., 1, 0], turn[..., 1, 1]]
        parts += [turn[..., 2, 2]]
        flat = pose.reshape(*pose.shape[:2], 12)
        return np.concatenate([np.stack(parts, -1), flat], -1).astype(np.float32)

    def key(self) -> bytes:
        """Equal for cameras that see alike: what a cached plan is found by."""
        split = np.array(self.present.shape)  # cameras of one sample, or of several
        return split.tobytes() + self.image_from_lidar.tobytes() + self.present.tobytes()
