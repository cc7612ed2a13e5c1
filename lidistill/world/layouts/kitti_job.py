# SPDX-License-Identifier: Apache-2.0
"""The KITTI layout as a list of independent sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lidistill.world.files import write_frame
from lidistill.world.layouts.kitti import DATE, SequenceWriter, drive_name
from lidistill.world.layouts.nuscenes_tables import NOTICE
from lidistill.world.presets import get_preset


class KittiJob:
    """Sequences of a KITTI world; ``ImageSets`` and the mapping are written at the end."""

    record_keys = ("name", "first", "frames")

    def __init__(self, root: Path, preset: str, seed: int) -> None:
        self.root, self.seed = root, seed
        self.size = get_preset(preset).kitti
        count = self.size.train + self.size.val + self.size.test
        self.scenes = [drive_name(number) for number in range(count)]
        self.captures = self.size.frames

    def write_scene(self, number: int, report: Callable[[], None]) -> dict[str, Any]:
        """Write the files of a sequence; returns its record."""
        return SequenceWriter(self.root, self.size, self.seed, number).write(report)

    def finish(self, sequences: list[dict[str, Any]]) -> None:
        """Write the splits, and which raw frame each training frame is."""
        train, labelled = self.size.train, self.size.train + self.size.val
        names = [
            [f"{record['first'] + k:06d}" for k in range(record["frames"])] for record in sequences
        ]
        splits = {
            "train": names[:train],
            "val": names[train:labelled],
            "trainval": names[:labelled],
            "test": names[labelled:],
        }
        for split, frames in splits.items():
            text = "".join(f"{name}\n" for sequence in frames for name in sequence)
            write_frame(self.root / "ImageSets" / f"{split}.txt", text.encode())
        rows = [
            f"{DATE} {record['name']} {k:010d}\n"
            for record in sequences[:labelled]
            for k in range(record["frames"])
        ]
        order = ",".join(str(k + 1) for k in range(len(rows)))
        write_frame(self.root / "devkit" / "mapping" / "train_mapping.txt", "".join(rows).encode())
        write_frame(self.root / "devkit" / "mapping" / "train_rand.txt", f"{order}\n".encode())
        write_frame(self.root / "SYNTHETIC", NOTICE.format(layout="KITTI").encode())
