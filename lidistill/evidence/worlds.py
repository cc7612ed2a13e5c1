# SPDX-License-Identifier: Apache-2.0
"""The worlds of evidence: one that is reported, one on which settings are chosen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.evidence import slidr_runs
from lidistill.io import exclusive

LAYOUTS = {"nuscenes": "nuScenes", "kitti": "KITTI"}


@dataclass(frozen=True)
class World:
    """A world in one layout, made when it is first asked for.

    Attributes:
        layout: ``nuscenes`` or ``kitti``.
        folder: of both layouts.
        seed: it is made with.
        superpixels: whether image-to-LiDAR pretraining needs them.
        bank: whether a teacher sees object-complete frames (nuScenes layout).
        preset: how large it is.
    """

    layout: str
    folder: Path = Path("data/evidence_world")
    seed: int = 0
    superpixels: bool = False
    bank: bool = False
    preset: str = "bench"

    @property
    def words(self) -> str:
        """For the record."""
        return f"embedded world {self.preset}, seed {self.seed}, {LAYOUTS[self.layout]} layout"

    @property
    def key(self) -> str:
        """Folder of trainings on it."""
        name = self.layout if self.preset == "bench" else f"{self.layout}_{self.preset}"
        return f"{name}_{self.seed}"

    @property
    def place(self) -> Path:
        """Folder of the data, whether they are there or not."""
        return self.folder / self.layout

    def prepare(self, cfg: Any, seed: int) -> None:
        """Change a config for a seed: nothing, the world is the same for all."""

    def for_choices(self) -> World:
        """Its sibling of another seed, on which settings are chosen and nothing is reported."""
        folder = self.folder.name.replace("evidence", "tuning", 1)
        return dataclasses.replace(self, folder=self.folder.with_name(folder), seed=7)

    def root(self) -> Path:
        """Folder of the data, made and converted when missing."""
        from lidistill.converters.kitti.convert import convert_kitti
        from lidistill.converters.nuscenes.convert import convert_nuscenes
        from lidistill.world import generate

        if self.superpixels:
            return slidr_runs.prepare_world(self.folder, "bench", self.seed).root
        root = self.place
        with exclusive(self.folder, "makes a world"):
            generate(self.folder, layout=self.layout, preset=self.preset, seed=self.seed)
            if self.layout == "kitti":
                convert_kitti(root)
            else:
                convert_nuscenes(root, slidr_runs.version_of(root))
                if self.bank:
                    _make_bank(root)
        return root


def _make_bank(root: Path) -> None:
    """Objects of all frames, where every line of a table looks for them."""
    from lidistill.converters.object_bank.build import build_bank
    from lidistill.converters.object_bank.sources.nuscenes import NuScenesSource

    build_bank(NuScenesSource(root, slidr_runs.version_of(root)), root / "object_bank")


KITTI = World("kitti")
KITTI_MORE = World("kitti", Path("data/evidence_world_more"), preset="monocular")
NUSCENES = World("nuscenes")
PAIRS = World("nuscenes", superpixels=True)
COMPLETE = World("nuscenes", bank=True)
