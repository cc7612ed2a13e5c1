# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.evaluation.superpixel_quality import (
    boundary_mask,
    boundary_recall,
    undersegmentation_error,
)


def random_labels(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, count, (4, 5)).repeat(3, 0).repeat(2, 1)


def naive_recall(labels: np.ndarray, reference: np.ndarray, tolerance: int) -> float:
    found, hit = 0, 0
    ours, wanted = boundary_mask(labels), boundary_mask(reference)
    for row, column in np.argwhere(wanted):
        found += 1
        near = ours[
            max(0, row - tolerance) : row + tolerance + 1,
            max(0, column - tolerance) : column + tolerance + 1,
        ]
        hit += bool(near.any())
    return hit / found


def naive_error(labels: np.ndarray, reference: np.ndarray) -> float:
    total = 0
    for segment in np.unique(reference):
        for superpixel in np.unique(labels[reference == segment]):
            inside = ((labels == superpixel) & (reference == segment)).sum()
            outside = ((labels == superpixel) & (reference != segment)).sum()
            total += min(inside, outside)
    return total / labels.size


@pytest.mark.parametrize("seed", range(3))
def test_both_equal_naive_loops(seed):
    labels, reference = random_labels(seed, 9), random_labels(seed + 10, 3)
    for tolerance in (0, 1):
        expected = naive_recall(labels, reference, tolerance)
        assert boundary_recall(labels, reference, tolerance) == pytest.approx(expected)
    assert undersegmentation_error(labels, reference) == pytest.approx(
        naive_error(labels, reference)
    )


def test_perfect_and_hopeless():
    reference = random_labels(0, 3)
    assert boundary_recall(reference, reference, 0) == 1.0
    assert undersegmentation_error(reference, reference) == 0.0
    one = np.zeros_like(reference)
    assert boundary_recall(one, reference) == 0.0
    assert boundary_recall(reference, one) == 1.0
    assert undersegmentation_error(one, reference) > 0.5


def test_border_lies_between_neighbours():
    assert boundary_mask(np.array([[0, 0, 1], [0, 0, 1]])).tolist() == [[False, True, False]] * 2
