# SPDX-License-Identifier: Apache-2.0
"""Real drives as the ground of a table: one sequence of SemanticKITTI is left out at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.converters.folds import FOLDER, make_folds
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.kitti.splits import BY_DRIVE
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.engine.configs.read import map_strings
from lidistill.evidence.worlds import World
from lidistill.io import DataError, exclusive

VARIABLE = "LIDISTILL_REAL_ROOT"
"""Where the data lie: a folder with semantic_kitti/ and, if there, kitti_drives/ in it."""
WRITTEN = f"{FOLDER}/08"
"""The fold that configs name."""
SUPERPIXELS = "superpixels/slic_150"
SIGMA = 1.5  # the paper's 3 pixels at nuScenes' focal length, at KITTI's
SAME_PLACE = {"04": ("training_04*",)}
"""Frames of the five drives that are of a sequence's place."""
TRACKED = {"05": "2011_09_26_drive_0005_sync", "01": "2011_09_26_drive_0001_sync"}
"""Drives to train on: how their frames' names begin, and the raw drive."""


@dataclass(frozen=True)
class RealFolds(World):
    """SemanticKITTI, one of its sequences left out; the seed of a run chooses which.

    Attributes:
        sequences: left out in turn: seed 0 leaves out the first one, and so on.
    """

    layout: str = "kitti"
    sequences: tuple[str, ...] = ("08", "00", "05", "02", "07", "01", "03", "09", "04")

    @property
    def words(self) -> str:
        """For the record."""
        return (
            "real: SemanticKITTI (ten scans a second of nine sequences, one sequence left out) and "
            "five KITTI drives for pretraining, without the sequence's place; fold and seed: "
            + ", ".join(f"{seed} without {name}" for seed, name in enumerate(self.sequences))
        )

    def for_choices(self) -> RealFolds:
        """There is no second real world; settings are those chosen on the embedded one."""
        return self

    @property
    def key(self) -> str:
        """Folder of trainings."""
        return "real_folds"

    @property
    def place(self) -> Path:
        """Folder of the data."""
        return real_home()

    def root(self) -> Path:
        """Folder of the data, converted, with superpixels and folds."""
        from lidistill.converters.superpixels.make import make_superpixels

        home = self.place
        if not (home / "semantic_kitti" / "sequences").is_dir():
            raise DataError(
                "Expected semantic_kitti/sequences/ below this folder: SemanticKITTI's scans, "
                "labels and left colour images.",
                path=home,
                fix=f"put or link them there (docs/real_data.md), or name the folder in {VARIABLE}",
            )
        with exclusive(home / FOLDER, "makes folds"):
            if not all((home / FOLDER / name / "val.pkl").is_file() for name in self.sequences):
                convert_semantic_kitti(home / "semantic_kitti", skip_incomplete=True)
                places = {}
                if (home / "kitti_drives" / "training").is_dir():
                    convert_kitti(home / "kitti_drives")
                    places = SAME_PLACE
                make_folds(home, places)
            files = [home / WRITTEN / f"{split}.pkl" for split in ("pretrain", "val")]
            make_superpixels(files, home, home / SUPERPIXELS, sigma=SIGMA, jobs=1)
        return home

    def prepare(self, cfg: Any, seed: int) -> None:
        """The fold of a seed in the place of the one that configs name."""
        if not 0 <= seed < len(self.sequences):
            raise ValueError(f"seed {seed}: there are {len(self.sequences)} folds, from 0")
        fold = f"{FOLDER}/{self.sequences[seed]}"
        map_strings(cfg._cfg_dict, lambda text: text.replace(WRITTEN, fold))


@dataclass(frozen=True)
class RealDrives(World):
    """Labelled frames of four KITTI drives: 0005 and 0001 to train on, 0009 and 0052 to score.

    With ``bank`` the objects of the training drives are gathered over their tracklets.
    """

    layout: str = "kitti"

    @property
    def words(self) -> str:
        """For the record."""
        return (
            "real: KITTI drives 0005 and 0001 (train), 0009 and 0052 (val); no street is in both; "
            "four places in all, one of them nearly one view"
        )

    @property
    def key(self) -> str:
        """Folder of trainings."""
        return "real_drives"

    @property
    def place(self) -> Path:
        """Folder in KITTI's object layout."""
        return real_home() / "kitti_drives"

    def for_choices(self) -> RealDrives:
        """There is no second real world; settings are those chosen on the embedded one."""
        return self

    def root(self) -> Path:
        """Folder in KITTI's object layout, converted."""
        root = self.place
        if not (root / "training" / "label_2").is_dir():
            raise DataError(
                "Expected kitti_drives/training/label_2: labelled frames of four KITTI drives.",
                path=root,
                fix=f"put or link them there (docs/real_data.md), or name the folder above it in "
                f"{VARIABLE}",
            )
        with exclusive(root / ".converted", "converts"):
            convert_kitti(root, split=None if (root / "ImageSets").is_dir() else BY_DRIVE)
            if self.bank:
                drives_bank(root)
        return root


def drives_bank(root: Path) -> Path:
    """The bank of the training drives.

    Args:
        root: ``kitti_drives``: ``training/velodyne/DDFFFF.bin`` and ``poses/DD.txt``; tracklets in
            ``official/`` or, beside it, in ``kitti_raw/``, as raw drives have them.

    Returns:
        ``object_bank`` below it.

    Raises:
        DataError: a drive's tracklets are missing.
    """
    from lidistill.converters.object_bank.build import build_bank
    from lidistill.converters.object_bank.sources.kitti import KittiSource, pattern_drive
    from lidistill.converters.object_bank.sources.tracklets import read_tracklets

    drives = []
    for start, name in TRACKED.items():
        tracks = read_tracklets(_tracklets(root, name))
        pattern = str(root / "training" / "velodyne" / f"{start}{{frame}}.bin")
        drives.append(pattern_drive(name, pattern, tracks, root / "poses" / f"{start}.txt"))
    build_bank(KittiSource(drives), root / "object_bank")
    return root / "object_bank"


def _tracklets(root: Path, drive: str) -> Path:
    day = drive.partition("_drive_")[0]
    homes = (root / "official", root.parent / "kitti_raw")
    places = [home / day / drive / "tracklet_labels.xml" for home in homes]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise DataError(
            f"No tracklets of {drive}: X-Ray needs to know which boxes are the same object.",
            path=places[0],
            fix=f"put its tracklet_labels.xml there, or at {places[1]} (raw data of KITTI)",
        )
    return found


def real_home() -> Path:
    """Folder above the real data sets."""
    return Path(os.environ.get(VARIABLE, "data/real"))


FOLDS = RealFolds()
DRIVES = RealDrives()
COMPLETE_DRIVES = RealDrives(bank=True)
