# SPDX-License-Identifier: Apache-2.0
"""A world of a second: few rays, small pictures, nine scenes; to test how worlds are made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lidistill.world.presets import PRESETS, KittiSize, NuScenesSize, Preset

NAMES = tuple(f"nano-{k:02d}" for k in range(9))
NANO = Preset(
    NuScenesSize(
        keyframes=2,
        sweeps=1,
        width=64,
        version="v1.0-nano",
        train=NAMES[:6],
        val=NAMES[6:],
        columns=60,
        splits=("nano_train", "nano_val"),
    ),
    KittiSize(train=2, val=1, test=1, frames=2, columns=90),
)


def use() -> None:
    """Make ``nano`` known as a preset (of this process)."""
    PRESETS["nano"] = NANO


def digest(folder: Path) -> dict[str, str]:
    """Checksum of every file below a folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
