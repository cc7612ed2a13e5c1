# SPDX-License-Identifier: Apache-2.0
"""How the authors' pairs and superpixels follow crops, flips, resizes and dropped cuboids."""

import numpy as np
import pytest

from lidistill.datasets.transforms import outside_cuboid
from lidistill.geometry.correspondence import Pairs, resize_labels
from tests.conftest import parity_files

FILES = parity_files("slidr", "augment_pairs_*.npz")


def pairs_of(points: np.ndarray, images: np.ndarray) -> Pairs:
    """Stored pairs (point) and (camera, row, column)."""
    images = images.astype(np.int64)
    return Pairs(points.astype(np.int64), images[:, 0], images[:, :0:-1].astype(np.float64))


def assert_pairs(pairs: Pairs, points: np.ndarray, images: np.ndarray) -> None:
    np.testing.assert_array_equal(pairs.point, points)
    np.testing.assert_array_equal(np.c_[pairs.camera, pairs.rowcol()], images)


@pytest.mark.parametrize("path", FILES)
def test_crop_and_flip(path):
    case = np.load(path)
    pairs = pairs_of(case["pairing_points"], case["pairing_images"])
    size = (int(case["crop_size"][0]), int(case["crop_size"][1]))
    parts, labels = [], []
    for camera, box in enumerate(case["crops_top_left_h_w"].tolist()):
        own = pairs.where(pairs.camera == camera)
        parts.append(own.crop_resize(box, size, compat=True))
        labels.append(resize_labels(case["superpixels"][camera], box, size, compat=True))
        assert len(parts[-1]) > 1024 or len(parts[-1]) > 0.75 * len(own)  # the crop was accepted
    cropped = Pairs.concatenate(parts)
    assert_pairs(cropped, case["crop_pairing_points"], case["crop_pairing_images"])
    np.testing.assert_array_equal(np.stack(labels), case["crop_superpixels"])

    flipped = cropped.flip(case["flipped"], np.full(len(labels), size[1]))
    assert_pairs(flipped, case["crop_pairing_points"], case["flip_pairing_images"])
    mirrored = [
        label[:, ::-1] if flip else label
        for label, flip in zip(labels, case["flipped"], strict=True)
    ]
    np.testing.assert_array_equal(np.stack(mirrored), case["flip_superpixels"])


@pytest.mark.parametrize("path", FILES)
def test_validation_resize(path):
    case = np.load(path)
    pairs = pairs_of(case["pairing_points"], case["pairing_images"])
    size = (int(case["crop_size"][0]), int(case["crop_size"][1]))
    height, width = case["superpixels"].shape[1:]
    resized = pairs.resize((height, width), size, compat=True)
    assert_pairs(resized, case["val_pairing_points"], case["val_pairing_images"])
    labels = [
        resize_labels(label, (0, 0, height, width), size, compat=True)
        for label in case["superpixels"]
    ]
    np.testing.assert_array_equal(np.stack(labels), case["val_superpixels"])


@pytest.mark.parametrize("path", FILES)
def test_cuboid_drop(path):
    case = np.load(path)
    pairs = pairs_of(case["drop_in_pairing_points"], case["drop_in_pairing_images"])
    keep = outside_cuboid(
        case["drop_xyz"], int(case["drop_centre_index"]), 0.2 * float(case["drop_u"])
    )
    dropped = pairs.drop_points(keep)
    num_cameras = int(pairs.camera.max()) + 1
    if dropped.counts(num_cameras).min() < 1024:  # the authors undo the drop
        keep, dropped = np.ones_like(keep), pairs
    np.testing.assert_array_equal(case["drop_xyz"][keep], case["drop_xyz_out"])
    assert_pairs(dropped, case["drop_pairing_points"], case["drop_pairing_images"])
