# SPDX-License-Identifier: Apache-2.0
"""Bench of superpixels at half size beside scikit-image at full size, with their quality.

The words of each row say how well both keep to borders: BR, boundary recall within 2 pixels (more
is better), and UE, undersegmentation error (less is better). The half-size labels are measured
against the full-size ones; in the embedded world both are also measured against its true surfaces.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.bench.case import Case
from lidistill.converters.superpixels.slic import SlicParameters, slic_labels
from lidistill.evaluation.superpixel_quality import boundary_recall, undersegmentation_error

FULL, HALF = SlicParameters(), SlicParameters(scale=0.5)


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = images of 900 x 1600; "quick" = 225 x 400.

    Returns:
        One case on a picture of the embedded world; one on a real image where the environment
        variable LIDISTILL_REALDATA_DIR names a folder with nuScenes images.
    """
    image, surfaces = world_picture(1600 if size == "full" else 400)
    made = [_case("superpixels_half_size_world", image, surfaces)]
    real = real_picture() if size == "full" else None
    if real is not None:
        made.append(_case("superpixels_half_size_nuscenes_frame", real, None))
    return made


def world_picture(width: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """A picture of the embedded world's front camera, and the surface that each pixel shows.

    Returns:
        (H, W, 3) uint8, and (H, W) int32: the thing, or the ground's material, or the sky.
    """
    from lidistill.world.scene.compose import compose
    from lidistill.world.scene.site import Profile
    from lidistill.world.sensing.render import render
    from lidistill.world.sensing.sensors import nuscenes_cameras

    scene = compose("bench", (0, 0), 10.0, Profile())
    snapshot = scene.snapshot(2.0)
    image, surface = render(scene, snapshot, nuscenes_cameras(width)[0], scene.ego.pose(2.0), 0)
    owners = snapshot.owner[np.maximum(surface, 0)]
    return image, np.where(surface >= 0, owners, surface).T.astype(np.int32)


def real_picture() -> NDArray[np.uint8] | None:
    """The first nuScenes image of a folder of samples, if there is one."""
    folder = os.environ.get("LIDISTILL_REALDATA_DIR")
    found = sorted(Path(folder).glob("nuscenes/samples/CAM_FRONT/*.jpg")) if folder else []
    return io.read_image(found[0]) if found else None


def _case(name: str, image: NDArray[np.uint8], surfaces: NDArray[np.int32] | None) -> Case:
    full, half = slic_labels(image, FULL), slic_labels(image, HALF)
    words = f"{image.shape[0]} x {image.shape[1]}, 150 segments; half against full: "
    words += quality(half, full)
    if surfaces is not None:
        words += f"; against true surfaces, full: {quality(full, surfaces)}"
        words += f", half: {quality(half, surfaces)}"
    return Case(name, words, lambda: slic_labels(image, FULL), lambda: slic_labels(image, HALF))


def quality(labels: NDArray[np.integer], reference: NDArray[np.integer]) -> str:
    """Both numbers in words."""
    recall = boundary_recall(labels, reference)
    return f"BR {recall:.3f}, UE {undersegmentation_error(labels, reference):.3f}"
