# SPDX-License-Identifier: Apache-2.0
"""SemanticKITTI's classes, the map from stored labels to them, and the sequences of its splits.

Source: Behley et al., "SemanticKITTI", ICCV 2019, and the benchmark's ``semantic-kitti.yaml``
(19 classes of single scans: moving and still objects are one class).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEMANTIC_KITTI_CLASSES = (
    "ignore",
    "car",
    "bicycle",
    "motorcycle",
    "truck",
    "other-vehicle",
    "person",
    "bicyclist",
    "motorcyclist",
    "road",
    "parking",
    "sidewalk",
    "other-ground",
    "building",
    "fence",
    "vegetation",
    "trunk",
    "terrain",
    "pole",
    "traffic-sign",
)
"""``ignore`` and the 19 scored classes; position = index."""

STORED_LABELS = {
    0: ("unlabeled", "ignore"),
    1: ("outlier", "ignore"),
    10: ("car", "car"),
    11: ("bicycle", "bicycle"),
    13: ("bus", "other-vehicle"),
    15: ("motorcycle", "motorcycle"),
    16: ("on-rails", "other-vehicle"),
    18: ("truck", "truck"),
    20: ("other-vehicle", "other-vehicle"),
    30: ("person", "person"),
    31: ("bicyclist", "bicyclist"),
    32: ("motorcyclist", "motorcyclist"),
    40: ("road", "road"),
    44: ("parking", "parking"),
    48: ("sidewalk", "sidewalk"),
    49: ("other-ground", "other-ground"),
    50: ("building", "building"),
    51: ("fence", "fence"),
    52: ("other-structure", "ignore"),
    60: ("lane-marking", "road"),
    70: ("vegetation", "vegetation"),
    71: ("trunk", "trunk"),
    72: ("terrain", "terrain"),
    80: ("pole", "pole"),
    81: ("traffic-sign", "traffic-sign"),
    99: ("other-object", "ignore"),
    252: ("moving-car", "car"),
    253: ("moving-bicyclist", "bicyclist"),
    254: ("moving-person", "person"),
    255: ("moving-motorcyclist", "motorcyclist"),
    256: ("moving-on-rails", "other-vehicle"),
    257: ("moving-bus", "other-vehicle"),
    258: ("moving-truck", "truck"),
    259: ("moving-other-vehicle", "other-vehicle"),
}
"""Stored label -> (its name, its class)."""

UNKNOWN = 255
"""In :func:`semantic_kitti_label_table`: no such label is stored."""

SEQUENCES = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(f"{number}" for number in range(11, 22)),
}
"""Sequences of each split; labels of ``test`` are not public."""


def semantic_kitti_label_table() -> NDArray[np.uint8]:
    """Look-up table from stored labels (lower 16 bits) to classes.

    Returns:
        (260,) uint8: ``table[stored] = class``, :data:`UNKNOWN` where no label is defined.
    """
    table = np.full(max(STORED_LABELS) + 1, UNKNOWN, dtype=np.uint8)
    for stored, (_, name) in STORED_LABELS.items():
        table[stored] = SEMANTIC_KITTI_CLASSES.index(name)
    return table
