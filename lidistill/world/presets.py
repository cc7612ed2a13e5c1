# SPDX-License-Identifier: Apache-2.0
"""Sizes of worlds. A preset names what each layout holds; the seed decides what is in it."""

from __future__ import annotations

from dataclasses import dataclass

MINI_TRAIN = (
    "scene-0061",
    "scene-0553",
    "scene-0655",
    "scene-0757",
    "scene-0796",
    "scene-1077",
    "scene-1094",
    "scene-1100",
)
MINI_VAL = ("scene-0103", "scene-0916")


@dataclass(frozen=True)
class NuScenesSize:
    """Size of a nuScenes layout.

    Attributes:
        keyframes: per scene, at 2 Hz.
        sweeps: LiDAR sweeps before each keyframe, evenly spread over the half second.
        width: of the images in pixels; the height is 9/16 of it.
        version: table folder.
        train, val: scene names.
        columns: LiDAR firings a turn.
        splits: names for ``splits.json`` (version without predefined splits), or None.
    """

    keyframes: int
    sweeps: int
    width: int = 400
    version: str = "v1.0-mini"
    train: tuple[str, ...] = MINI_TRAIN
    val: tuple[str, ...] = MINI_VAL
    columns: int = 1084
    splits: tuple[str, str] | None = None


@dataclass(frozen=True)
class KittiSize:
    """Size of a KITTI layout.

    Attributes:
        train, val, test: numbers of sequences.
        frames: per sequence, at 10 Hz.
        columns: LiDAR firings a turn.
        stride: frames written out of the 10 Hz stream (1: all of them).
    """

    train: int
    val: int
    test: int
    frames: int
    columns: int = 2048
    stride: int = 1


@dataclass(frozen=True)
class Preset:
    """Sizes of both layouts."""

    nuscenes: NuScenesSize
    kitti: KittiSize


PRESETS = {
    "tiny": Preset(NuScenesSize(2, 1, columns=542), KittiSize(1, 1, 1, 3, columns=1024)),
    "small": Preset(NuScenesSize(4, 9), KittiSize(6, 2, 1, 5)),
    "demo": Preset(NuScenesSize(10, 0), KittiSize(8, 2, 1, 5)),
    "base": Preset(NuScenesSize(20, 3), KittiSize(24, 8, 2, 10)),
    "bench": Preset(
        NuScenesSize(
            20,
            0,
            version="v1.0-bench",
            train=tuple(f"bench-{k:04d}" for k in range(10)),
            val=tuple(f"bench-{k:04d}" for k in range(10, 18)),
            splits=("bench_train", "bench_val"),
        ),
        KittiSize(20, 10, 1, 10, stride=2),
    ),
    "monocular": Preset(NuScenesSize(2, 1, columns=542), KittiSize(24, 20, 1, 10, stride=2)),
}


def get_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ValueError: unknown name; lists the known ones.
    """
    if name not in PRESETS:
        raise ValueError(f"expected a preset out of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
