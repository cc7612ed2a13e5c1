# SPDX-License-Identifier: Apache-2.0
"""Trials of nuScenes and of the files of a vehicle of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.rig import read_poses, read_rig
from lidistill.datasets.labelled import labelled_frames
from tests.converters.fake_nuscenes import write_fake_nuscenes
from tests.robustness.mutate_form import (
    FREE,
    OPTIONAL,
    RAW,
    ROWS,
    WORDS,
    Format,
    contents_of,
    fresh,
    why,
)
from tests.robustness.mutate_kinds import ANY, JSON, TEXT, points


# -- nuScenes ------------------------------------------------------------------------------------
def nuscenes(root: Path) -> None:
    write_fake_nuscenes(root, ["a", "b"], keyframes=2)
    rng = np.random.default_rng(0)
    for cloud in root.glob("s*/LIDAR_TOP/*.bin"):
        columns = rng.uniform([-20, -20, -2, 0, 0], [20, 20, 1, 255, 32], (120, 5))
        cloud.write_bytes(columns.astype("<f4").tobytes())
    for file in root.glob("lidarseg/*/*.bin"):
        file.write_bytes(bytes(rng.integers(0, 32, 120).tolist()))
    splits = {"x_train": ["a"], "x_val": ["b"]}
    (root / "v1.0-fake/splits.json").write_text(json.dumps(splits))


def read_nuscenes(root: Path) -> Any:
    return contents_of(convert_nuscenes(root, "v1.0-fake", fresh(root)))


_TABLE = {
    "instances|contents": "objects follow from several tables",
    "sweeps": "as many as the chain of prev names",
    "categories|pts_semantic_mask_path|timestamp|token": "names and clocks are free",
    r"=images[.][*]$": "a camera has any name",
    r"data_list\[\d+\][.][*]": "lidarseg.json may be left out, then nothing names point labels",
}
NUSCENES = (
    Format(
        "nuscenes.tables",
        nuscenes,
        "v1.0-fake/[a-rt-z]*.json",
        read_nuscenes,
        ANY | JSON,
        why(RAW, "flipped bits")
        | why(WORDS, "wrong type")
        | why(OPTIONAL, "missing", "missing key", "null", "entry twice", "wrong root"),
        _TABLE,
    ),
    Format(
        "nuscenes.samples",
        nuscenes,
        "v1.0-fake/s[ace]*.json",
        read_nuscenes,
        ANY | JSON,
        why(RAW, "flipped bits")
        | why(WORDS, "wrong type")
        | why(OPTIONAL, "missing key", "null", "entry twice"),
        _TABLE,
    ),
    Format(
        "nuscenes.splits",
        nuscenes,
        "v1.0-fake/splits.json",
        read_nuscenes,
        ANY | JSON,
        why(ROWS, "missing key", "flipped bits", "wrong type", "entry twice"),
        FREE,
    ),
    Format(
        "nuscenes.pcd.bin",
        nuscenes,
        "s*/LIDAR_TOP/*.bin",
        read_nuscenes,
        ANY | points(5),
        why(RAW, "flipped bits", "cut", "zeros", "longer"),
        {"contents|num_lidar_pts": "counts"},
    ),
    Format(
        "nuscenes.lidarseg",
        nuscenes,
        "lidarseg/*/*.bin",
        read_nuscenes,
        ANY,
        why(RAW, "flipped bits", "zeros"),
        {"contents": "counts"},
    ),
)


# -- a vehicle of one's own ------------------------------------------------------------------------
def own(root: Path) -> None:
    lidar = {"vehicle_from_lidar": np.eye(4).tolist(), "columns": 5}
    camera = {
        "vehicle_from_camera": [[0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1]],
        "intrinsics": [[50.0, 0, 40.5], [0, 51.0, 22], [0, 0, 1]],
        "size": [80, 45],
    }
    rig = {"lidar": lidar, "cameras": {"front": camera}}
    (root / "calibration.json").write_text(json.dumps(rig))
    rows = [f"{1_500_000 + 100 * n},{n}.5,2.25,0.1,0,0,0,1\n" for n in range(4)]
    (root / "poses.csv").write_text("".join(rows))
    (root / "scenes.txt").write_text("scene-1\nscene-2  # rainy\n")


def read_scenes(root: Path) -> Any:
    frames = [{"scene_name": f"scene-{n}", "token": str(n)} for n in range(1, 5)]
    return [frame["token"] for frame in labelled_frames(frames, root / "scenes.txt")]


OWN = (
    Format(
        "own.calibration",
        own,
        "calibration.json",
        lambda root: read_rig(root / "calibration.json"),
        ANY | JSON,
        why(RAW, "flipped bits") | why(OPTIONAL, "missing key", "entry twice", "wrong type"),
        {r"cameras[.][*]": "cameras have any names and number", r"[.][*]$": "more may be said"},
    ),
    Format(
        "own.poses",
        own,
        "poses.csv",
        lambda root: read_poses(root / "poses.csv"),
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut") | why(ROWS, "line gone", "cut", "longer"),
        {"^$": "any number of rows"},
    ),
    Format(
        "own.scenes",
        own,
        "scenes.txt",
        read_scenes,
        ANY | TEXT,
        why(ROWS, "line gone", "cut", "flipped bits", "another value", "longer", "wrong width"),
        FREE,
    ),
)
