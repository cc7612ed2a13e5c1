# SPDX-License-Identifier: Apache-2.0
"""Classes of LiDAR segmentation: names, colours, and nuScenes-lidarseg's 32 classes as its 16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidistill.converters.class_names import NUSCENES_CLASS_OF
from lidistill.world.catalog import CATEGORIES

IGNORE = 0
"""Index of the class that is neither trained nor scored."""

NUSCENES_FINE_CLASSES = CATEGORIES
"""The 32 classes of a lidarseg file; position = stored value, ``index`` in the category table."""

NUSCENES_CLASSES = (
    "ignore",
    "barrier",
    "bicycle",
    "bus",
    "car",
    "construction_vehicle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "trailer",
    "truck",
    "driveable_surface",
    "other_flat",
    "sidewalk",
    "terrain",
    "manmade",
    "vegetation",
)
"""``ignore`` and the 16 scored classes of the nuScenes-lidarseg challenge; position = index."""

_COARSE_NAMES = {
    **NUSCENES_CLASS_OF,
    "flat.driveable_surface": "driveable_surface",
    "flat.other": "other_flat",
    "flat.sidewalk": "sidewalk",
    "flat.terrain": "terrain",
    "static.manmade": "manmade",
    "static.vegetation": "vegetation",
}

# Ours, chosen to be told apart on dark and on light ground: vehicles warm, people and signs bright,
# ground cool and quiet, background muted.
NUSCENES_COLOURS = np.array(
    [
        (128, 128, 128),  # ignore
        (150, 122, 240),  # barrier
        (255, 92, 160),  # bicycle
        (255, 122, 40),  # bus
        (255, 176, 32),  # car
        (196, 120, 74),  # construction_vehicle
        (232, 58, 100),  # motorcycle
        (72, 118, 255),  # pedestrian
        (40, 208, 236),  # traffic_cone
        (214, 150, 20),  # trailer
        (240, 84, 62),  # truck
        (98, 108, 124),  # driveable_surface
        (150, 84, 120),  # other_flat
        (126, 96, 150),  # sidewalk
        (136, 168, 72),  # terrain
        (206, 184, 150),  # manmade
        (38, 150, 84),  # vegetation
    ],
    dtype=np.uint8,
)
"""(17, 3) uint8 RGB, one row a class of :data:`NUSCENES_CLASSES`."""


def nuscenes_label_table() -> np.ndarray:
    """Look-up table from the 32 stored lidarseg values to the challenge's 16 classes and ignore.

    Returns:
        (32,) uint8: ``table[fine] = coarse``, positions as in :data:`NUSCENES_FINE_CLASSES`.

    Source: nuscenes-devkit 1.2.0, ``LidarsegClassMapper``; equality is tested.
    """
    index = {name: position for position, name in enumerate(NUSCENES_CLASSES)}
    names = (_COARSE_NAMES.get(fine, "ignore") for fine in NUSCENES_FINE_CLASSES)
    return np.array([index[name] for name in names], dtype=np.uint8)


def map_labels(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace each label by its entry in ``table``.

    Args:
        labels: (N,) integers, each in ``0 .. len(table) - 1``.
        table: (L,) integers, for instance :func:`nuscenes_label_table`.

    Returns:
        (N,) of the table's dtype.

    Raises:
        ValueError: a label lies outside the table.
    """
    labels = np.asarray(labels)
    if labels.size and (labels.min() < 0 or labels.max() >= len(table)):
        raise ValueError(
            f"labels must lie in 0..{len(table) - 1}, got {labels.min()}..{labels.max()}: "
            "is this a file of 32-class lidarseg labels, read as uint8?"
        )
    return table[labels]


NUSCENES_LABEL_TABLE = tuple(int(value) for value in nuscenes_label_table())
"""The same table as plain numbers, for configs."""


@dataclass(frozen=True)
class LabelSet:
    """Classes, and how stored labels map to them.

    Attributes:
        classes: names, position = class; the first one is ignored.
        table: ``table[stored] = class``; None where labels are classes already.
    """

    classes: tuple[str, ...]
    table: np.ndarray | None = None


NUSCENES_LABELS = LabelSet(NUSCENES_CLASSES, nuscenes_label_table())
