# SPDX-License-Identifier: Apache-2.0
"""Plausible numbers: true ones of any kind pass, one value changed is found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidistill.geometry import plausible
from lidistill.geometry.frames import quaternion_to_matrix

UNIT = st.floats(-1, 1)
QUATERNIONS = st.tuples(UNIT, UNIT, UNIT, UNIT).filter(lambda q: np.linalg.norm(q) > 0.1)
NONSENSE = st.sampled_from([math.nan, math.inf, -math.inf, -1e9, 99999999999.0])
P2 = [[721.5, 0, 609.6, 44.86], [0, 721.5, 172.9, 0.2164], [0, 0, 1, 0.002746]]  # KITTI's


def unit(q):
    return np.array(q) / np.linalg.norm(q)


@given(QUATERNIONS, st.integers(0, 8), NONSENSE)
def test_rotations(q, place, value):
    matrix = quaternion_to_matrix(q)
    assert plausible.rotation_fault(matrix) is None
    assert plausible.rotation_fault(matrix.round(5)) is None
    assert "mirrors" in plausible.rotation_fault(matrix * [1, 1, -1])
    assert plausible.quaternion_fault(unit(q)) is None
    matrix.flat[place] = value
    assert plausible.rotation_fault(matrix) is not None


@given(QUATERNIONS, st.integers(0, 3), NONSENSE)
def test_quaternions(q, place, value):
    broken = unit(q)
    broken[place] = value
    assert plausible.quaternion_fault(broken) is not None


@given(QUATERNIONS, st.tuples(*[st.floats(-1000, 1000)] * 3), st.integers(0, 11), NONSENSE)
def test_transforms(q, shift, place, value):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = quaternion_to_matrix(q), shift
    assert plausible.transform_fault(matrix) is None
    assert plausible.transform_fault(matrix[:3]) is None
    matrix.flat[place] = value
    assert plausible.transform_fault(matrix) is not None


def test_a_row_of_another_length_and_rows_that_are_not_square_are_told_apart():
    matrix = np.eye(3)
    matrix[1, 1] = 1.01
    assert "row 2" in plausible.rotation_fault(matrix)
    assert "not of length 1" in plausible.rotation_fault(matrix)
    matrix = np.eye(3)
    matrix[0] = [np.cos(0.1), np.sin(0.1), 0]
    assert "not square to row 2" in plausible.rotation_fault(matrix)
    assert plausible.rotation_fault(np.eye(3) + 9e-4 * np.eye(3)[::-1]) is not None
    assert plausible.rotation_fault(np.eye(3) * 1.0004) is None


def test_poses_in_a_map_may_be_far_and_a_last_row_is_fixed():
    pose = np.eye(4)
    pose[0, 3] = 40_000
    assert "within 1000 m" in plausible.transform_fault(pose)
    assert plausible.transform_fault(pose, math.inf) is None
    pose[3, 0] = 1
    assert "last row" in plausible.transform_fault(pose, math.inf)


@given(st.integers(0, 11), NONSENSE)
def test_cameras(place, value):
    assert plausible.intrinsics_fault(P2) is None
    assert plausible.intrinsics_fault(np.array(P2)[:, :3]) is None
    assert plausible.intrinsics_fault([*P2, [0, 0, 0, 1]]) is None
    broken = np.array(P2)
    broken.flat[place] = value
    assert plausible.intrinsics_fault(broken) is not None


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.diag([700.0, -700, 1]), "focal lengths"),
        (np.diag([700.0, 0, 1]), "focal lengths"),
        (np.diag([700.0, 700, 2]), "0 0 1"),
        (np.zeros((2, 2)), "3 x 3 or 3 x 4 or 4 x 4"),
        ([["a", 1, 1]] * 3, "expected a camera matrix, got"),
        (None, "expected a camera matrix"),
    ],
)
def test_no_cameras(matrix, message):
    assert message in plausible.intrinsics_fault(matrix)


@given(st.integers(0, 6), NONSENSE)
def test_boxes(place, value):
    box = [10.0, -3, 1, 4.2, 1.8, 1.5, 0.3, math.nan, math.nan]  # an unknown velocity is usual
    assert plausible.boxes_fault([box]) is None
    box[place] = value
    fault = plausible.boxes_fault([[1, 2, 3, 1, 1, 1, 0, 0, 0], box])
    if place < 6 or not math.isfinite(value):
        assert fault.startswith("box 1: expected")
    else:
        assert fault is None  # an angle may be any number


def test_sizes_of_boxes():
    assert plausible.boxes_fault([]) is None
    assert plausible.boxes_fault(np.zeros((0, 7))) is None
    for size in (0, -1.8, 200):
        assert "above 0 and below 200 m" in plausible.boxes_fault([[0, 0, 0, 4, size, 1, 0]])
    far = [[2000, 0, 0, 4, 2, 1, 0]]
    assert "1000 m" in plausible.boxes_fault(far)
    assert plausible.boxes_fault(far, math.inf) is None
    assert "(M, 7 or more)" in plausible.boxes_fault([[1, 2, 3]])
    assert "numbers" in plausible.boxes_fault([["a"] * 7])
