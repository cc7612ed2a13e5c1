# SPDX-License-Identifier: Apache-2.0
"""The size of every image of a scene: the tables' word, checked against the files."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from lidistill.converters.nuscenes.schema import Record
from lidistill.converters.nuscenes.tables import SceneRecords
from lidistill.io import image_size

Size = tuple[int, int]


def image_sizes(records: SceneRecords, root: Path) -> tuple[dict[str, Size], list[str]]:
    """Sizes of a scene's camera key frames.

    The first image of each camera is opened. Where the table has another size for it, or none, the
    camera's other images are opened too, and the files' sizes are taken.

    Args:
        records: Of the scene.
        root: The data root.

    Returns:
        (width, height) by token, without images that are missing; and a note for each camera of
        which the table is wrong.
    """
    sizes: dict[str, Size] = {}
    notes = []
    for channel, shots in _by_camera(records).items():
        there = [shot for shot in shots if (root / shot["filename"]).is_file()]
        sizes |= {shot["token"]: (shot["width"], shot["height"]) for shot in shots}
        if not there:
            continue
        first = there[0]
        told, found = sizes[first["token"]], image_size(root / first["filename"], first["token"])
        if told != found:
            sizes |= {s["token"]: image_size(root / s["filename"], s["token"]) for s in there}
        if told != found and all(told):
            notes.append(
                f"{records.scene['name']}, {channel}: sample_data.json says {told[0]} x {told[1]}, "
                f"the images are {found[0]} x {found[1]}, which is taken; look whether "
                "camera_intrinsic is that of the images"
            )
    return sizes, notes


def _by_camera(records: SceneRecords) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for views in records.keyframes.values():
        for channel, shot in views.items():
            if channel != records.channel:
                found[channel].append(shot)
    return found
