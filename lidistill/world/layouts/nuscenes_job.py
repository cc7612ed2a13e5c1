# SPDX-License-Identifier: Apache-2.0
"""The nuScenes layout as a list of independent scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lidistill.world.layouts.nuscenes import SceneWriter, captures
from lidistill.world.layouts.nuscenes_tables import SCENE_TABLES, Record, write_tables
from lidistill.world.presets import get_preset


class NuScenesJob:
    """Scenes of a nuScenes world; each is written on its own, tables at the end."""

    record_keys = SCENE_TABLES

    def __init__(self, root: Path, preset: str, seed: int) -> None:
        self.root, self.seed = root, seed
        self.size = get_preset(preset).nuscenes
        self.scenes = [*self.size.train, *self.size.val]
        self.captures = captures(self.size)

    def write_scene(self, number: int, report: Callable[[], None]) -> dict[str, list[Record]]:
        """Write the files of a scene; returns its records."""
        return SceneWriter(self.root, self.size, self.seed, number).write(report)

    def finish(self, scenes: list[dict[str, list[Record]]]) -> None:
        """Write the tables."""
        write_tables(self.root, self.size, scenes)
