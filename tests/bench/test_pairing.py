# SPDX-License-Identifier: Apache-2.0
"""The two sides of the pairing bench compute the same thing, and the reference is the authors'."""

import numpy as np
import pytest

from lidistill.bench.pairing import Rig, authors_pairs, cases, nuscenes_rig, our_pairs, sweep
from tests.conftest import parity_files


def test_both_sides_agree():
    points, rig = sweep(32, 300), nuscenes_rig()
    reference, ours = authors_pairs(points, rig), np.column_stack(our_pairs(points, rig))
    np.testing.assert_array_equal(reference[:, :2], ours[:, :2])
    off = np.abs(reference[:, 2:] - ours[:, 2:]).max(axis=1)
    assert off.max() <= 1
    assert 0 <= (off > 0).mean() < 0.02
    assert set(ours[:, 1]) == set(range(6))


@pytest.mark.parametrize("path", parity_files("slidr", "pairing_*.npz"))
def test_reference_is_the_authors_release(path):
    case = np.load(path)
    names = ("lidar_to_ego", "ego_to_global_lidar", "cam_to_ego", "ego_to_global_cam", "intrinsics")
    rig = Rig(*(case[name] for name in names), tuple(case["image_hw"].tolist()))
    pairs = authors_pairs(case["points"], rig, float(case["min_dist"]))
    np.testing.assert_array_equal(pairs[:, 0], case["pairing_points"])
    np.testing.assert_array_equal(pairs[:, 1:], case["pairing_images"])


def test_full_case_has_the_issue_s_size():
    (case,) = cases("full")
    assert "x 34,720 points" in case.size
    assert cases("quick")[0].reference is not None
