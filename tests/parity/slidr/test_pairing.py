# SPDX-License-Identifier: Apache-2.0
"""Pairing of the authors' data loader, in float64 with one composed transform a camera."""

import numpy as np
import pytest

from lidistill.geometry.projection import camera_from_lidar, pair_points
from tests.conftest import parity_files


@pytest.mark.parametrize("path", parity_files("slidr", "pairing_*.npz"))
def test_pairing(path):
    case = np.load(path)
    transforms = camera_from_lidar(
        case["cam_to_ego"],
        case["ego_to_global_cam"],
        case["ego_to_global_lidar"],
        case["lidar_to_ego"],
    )
    np.testing.assert_allclose(transforms, case["lidar_to_cam_f64"], atol=1e-9)
    pairs = pair_points(
        case["points"], transforms, case["intrinsics"], case["image_hw"], float(case["min_dist"])
    )
    found = np.c_[pairs.point, pairs.camera, pairs.rowcol()]
    np.testing.assert_array_equal(found, case["pairs_f64"])

    # The authors' float32 chain: the same set, a pixel off in less than 1 % of the rows.
    np.testing.assert_array_equal(found[:, 0], case["pairing_points"])
    np.testing.assert_array_equal(found[:, 1], case["pairing_images"][:, 0])
    off = np.abs(found[:, 2:] - case["pairing_images"][:, 1:]).max(axis=1)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01
