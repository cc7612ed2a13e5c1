# SPDX-License-Identifier: Apache-2.0
"""Run-length code of masks against pycocotools, which mmdet brings, and against a loop."""

import numpy as np
import pytest

from lidistill.converters.superpixels.rle import decode_counts, decode_string


def naive_runs(mask: np.ndarray) -> list[int]:
    """Lengths of off, on, off, ... walking column by column."""
    runs, current = [0], 0
    for value in mask.T.flatten().tolist():
        if value == current:
            runs[-1] += 1
        else:
            runs.append(1)
            current = value
    return runs


def random_mask(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = rng.random((60, 50)) < rng.choice([0.02, 0.5, 0.98])
    mask[10:40, 5:30] = seed % 2  # long runs
    return mask


@pytest.mark.parametrize("seed", range(6))
def test_strings_of_pycocotools(seed):
    coco = pytest.importorskip("pycocotools.mask")
    mask = random_mask(seed)
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert decode_string(text).tolist() == naive_runs(mask)


@pytest.mark.parametrize("mask", [np.zeros((4, 3), bool), np.ones((4, 3), bool)])
def test_empty_and_full(mask):
    coco = pytest.importorskip("pycocotools.mask")
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert decode_string(text).tolist() == naive_runs(mask)


def test_a_long_string_by_hand():
    # 70, 3, 70 + 6 (difference to the run two before): 70 = 6 + 2 * 32 -> chars (6 | 32), 2
    assert decode_string("V23:").tolist() == [70, 3, 10]
    assert decode_string("").tolist() == []
    assert decode_counts([1, 2, 0]).tolist() == [1, 2, 0]


@pytest.mark.parametrize("text", ["V", "!", "oooooooooooooooo0"])
def test_broken_strings_are_refused(text):
    with pytest.raises(ValueError, match="no run-length string"):
        decode_string(text)


@pytest.mark.parametrize("counts", [[1, -2], [1.5], [[1], [2]], "abc"])
def test_broken_lists_are_refused(counts):
    with pytest.raises(ValueError, match="runs must be integers"):
        decode_counts(counts)
