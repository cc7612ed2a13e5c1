# SPDX-License-Identifier: Apache-2.0
"""Class-balanced repetition."""

from __future__ import annotations

from collections import Counter

from lidistill.datasets.balance import balanced_rows
from lidistill.datasets.detections import SeededDetections
from tests.datasets.test_detections import Foreign


def test_every_class_is_drawn_alike():
    labels = [{0}] * 90 + [{1}] * 6 + [{2, 0}] * 3 + [set()] * 5
    rows = balanced_rows(labels)
    share = (93 + 6 + 3) // 3
    drawn = Counter(row for row in rows)
    assert len(rows) == 3 * share
    assert sum(count for row, count in drawn.items() if labels[row] == {1}) == share
    assert sum(count for row, count in drawn.items() if 2 in labels[row]) >= share
    assert not any(labels[row] == set() for row in drawn)
    assert balanced_rows(labels) == rows
    assert balanced_rows(labels, seed=1) != rows


def test_frames_without_known_labels_come_once():
    assert balanced_rows([None, {0}, None, {0}]) == [0, 1, 2, 3]
    assert balanced_rows([]) == []


def test_a_data_set_repeats_its_rare_frames():
    class Labelled(Foreign):
        def get_cat_ids(self, index):
            return {0, -1} if index < 5 else {1}

    plain, balanced = SeededDetections(Labelled()), SeededDetections(Labelled(), balanced=True)
    assert len(plain) == 6
    assert len(balanced) == 6
    assert balanced.indices.count(5) == 3
    assert len(balanced.labelled) == 6
