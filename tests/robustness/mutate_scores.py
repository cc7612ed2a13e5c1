# SPDX-License-Identifier: Apache-2.0
"""Trials of what is scored (results, labels), of splits, raw calibrations and folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.bench.kitti.evaluator import made_up
from lidistill.converters.folds import make_folds
from lidistill.converters.infos import write_infos
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.kitti.raw import convert_kitti_raw
from lidistill.converters.kitti.results import write_results
from lidistill.converters.object_bank.follow import FollowOptions
from lidistill.converters.object_bank.follow_files import follow_results
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.engine.scoring.nuscenes import read_nuscenes_results
from lidistill.evaluation.kitti.ap import kitti_ap
from lidistill.evaluation.kitti.folders import read_folders
from lidistill.io import read_json
from tests.converters.fake_kitti import write_fake_kitti
from tests.converters.fake_semantic_kitti import write_fake_semantic_kitti
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
from tests.robustness.mutate_kinds import ANY, JSON, PICKLE, TEXT

SCORES = {"ap|objects|protocol|notes|precision": "what the lines give"}


# -- KITTI's results -------------------------------------------------------------------------------
def results(root: Path) -> None:
    truth, found = made_up(12, seed=2)
    for name in ("label_2", "pred"):
        (root / name).mkdir()
    for number, (labels, detections) in enumerate(zip(truth, found, strict=True)):
        path = root / "label_2" / f"{number:06d}.txt"
        write_results(path, labels)
        lines = [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
        path.write_text("".join(f"{line}\n" for line in lines))
        write_results(root / "pred" / path.name, detections)
    names = [f"{number:06d}\n" for number in range(2, 9)]
    (root / "split.txt").write_text("".join(names))


def read_results(root: Path) -> Any:
    folders = read_folders(root / "label_2", root / "pred")
    scores = kitti_ap(folders.truth, folders.found)
    return {
        "truth": vars(folders.truth),
        "found": vars(folders.found),
        "notes": folders.notes,
        "ap": scores.ap,
        "objects": scores.objects,
        "protocol": scores.protocol,
    }


# -- nuScenes' results -----------------------------------------------------------------------------
def detections(root: Path) -> None:
    frames, entries = [], {}
    for number in range(4):
        token = f"token{number}"
        place = {"sample_idx": number, "token": token, "scene_name": "s"}
        clouds = {"lidar_points": {"lidar_path": f"{number}.bin"}}
        frames.append({**place, "timestamp": 0.5 * number, **clouds})
        entries[token] = [
            {"sample_token": token, "translation": [5.0 + number, 10.0 * k, 0.5],
             "size": [2.0, 4.0, 1.5], "rotation": [1.0, 0.0, 0.0, 0.0], "velocity": [2.0, 0.0],
             "detection_name": "car", "detection_score": 0.75, "attribute_name": "vehicle.moving"}
            for k in range(2)
        ]  # fmt: skip
    (root / "results.json").write_text(
        json.dumps({"meta": {"use_lidar": True}, "results": entries})
    )
    meta = {"dataset": "nuscenes", "info_version": "1.1", "split": "val"}
    write_infos(root / "infos.pkl", meta, frames, {}, "made")


def read_followed(root: Path) -> Any:
    out = fresh(root) / "tracks.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    report = follow_results(root / "results.json", root / "infos.pkl", out, FollowOptions())
    return report, read_json(out)


# -- splits, calibrations, folds -------------------------------------------------------------------
def splits(root: Path) -> None:
    write_fake_kitti(root, training=4, testing=0)
    for cloud in root.glob("*/velodyne/*.bin"):
        cloud.write_bytes(cloud.read_bytes()[: 16 * 300])
    named = {"train": ["000000", "000001"], "val": ["000002"]}
    (root / "split.json").write_text(json.dumps(named))


def read_splits(root: Path) -> Any:
    return contents_of(convert_kitti(root, fresh(root), split=root / "split.json"))


def raw(root: Path) -> None:
    write_fake_kitti(root / "made", training=4, testing=0)
    from lidistill.converters.kitti.files import read_calibration

    day = root / "2011_09_26"
    for number in range(4):
        drive = day / f"2011_09_26_drive_{number // 2:04d}_sync"
        for part, source in (("velodyne_points/data", f"velodyne/{number:06d}.bin"),
                             ("image_02/data", f"image_2/{number:06d}.png")):  # fmt: skip
            (drive / part).mkdir(parents=True, exist_ok=True)
            path = root / "made/training" / source
            data = path.read_bytes()
            target = drive / part / f"{number % 2:010d}{path.suffix}"
            target.write_bytes(data[: 16 * 300] if path.suffix == ".bin" else data)
    found = read_calibration(root / "made/training/calib/000000.txt", "")
    turn = found.camera_from_lidar
    entries = {
        "calib_cam_to_cam.txt": {"P_rect_02": found.projections[2][:3],
                                 "R_rect_00": found.rectification[:3, :3]},
        "calib_velo_to_cam.txt": {"R": turn[:3, :3], "T": turn[:3, 3]},
    }  # fmt: skip
    for name, matrices in entries.items():
        lines = [f"{k}: {' '.join(map(repr, np.ravel(m).tolist()))}\n" for k, m in matrices.items()]
        (day / name).write_text("calib_time: 09-Jan-2012 13:57:47\n" + "".join(lines))
    named = {"train": ["2011_09_26_drive_0000_sync"], "val": ["2011_09_26_drive_0001_sync"]}
    (root / "splits.json").write_text(json.dumps(named))


def read_raw(root: Path) -> Any:
    return contents_of(convert_kitti_raw(root, fresh(root)))


def folds(root: Path) -> None:
    write_fake_semantic_kitti(root / "semantic", scans=2)
    convert_semantic_kitti(root / "semantic")


def read_folds(root: Path) -> Any:
    made = {}
    for name, folder in make_folds(root).items():
        made[name] = contents_of({split: folder / f"{split}.pkl" for split in ("train", "val")})
    return made


SCORED = (
    Format(
        "results.label",
        results,
        "label_2/*.txt",
        read_results,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value")
        | why(ROWS, "line gone", "line twice", "longer", "empty", "cut")
        | why("a label may have a score, which is said", "wrong width"),
        {**SCORES, r"truth": "rows of the labels"},
    ),
    Format(
        "results.kitti",
        results,
        "pred/*.txt",
        read_results,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "absurd value", "cut", "longer")
        | why(ROWS, "line gone", "line twice", "longer", "empty", "cut"),
        {**SCORES, r"found": "rows of the results"},
        limit=1e31,
    ),
    Format(
        "results.nuscenes",
        detections,
        "results.json",
        lambda root: read_nuscenes_results(root / "results.json"),
        ANY | JSON,
        why(RAW, "flipped bits", "absurd value")
        | why(WORDS, "wrong type", "entry twice")
        | why(ROWS, "missing key", "entry twice"),
        {r"[*]|[[]]": "any keyframes, and any number of entries"},
        limit=1e31,
    ),
    Format(
        "results.tracked",
        detections,
        "results.json",
        read_followed,
        ANY | JSON,
        why(RAW, "flipped bits", "absurd value")
        | why(WORDS, "wrong type", "entry twice")
        | why("velocity and attribute are not needed", "missing key", "null"),
        FREE,
        limit=1e31,
    ),
    Format(
        "results.infos.pkl",
        detections,
        "infos.pkl",
        read_followed,
        ANY | PICKLE,
        why(RAW, "flipped bits", "absurd value")
        | why(WORDS, "wrong type", "entry twice")
        | why(OPTIONAL, "missing key", "null", "list for a record"),
        FREE,
        limit=1e31,
    ),
    Format(
        "kitti.split.json",
        splits,
        "split.json",
        read_splits,
        ANY | JSON,
        why(ROWS, "missing key", "flipped bits", "entry twice", "wrong type"),
        FREE,
    ),
    Format(
        "raw.calib",
        raw,
        "2011_09_26/calib_*.txt",
        read_raw,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut", "longer")
        | why("the time of calibration is not read", "line gone", "wrong type", "wrong width"),
        {"contents": "points in images are counted by it"},
    ),
    Format(
        "raw.splits",
        raw,
        "splits.json",
        read_raw,
        ANY | JSON,
        why(ROWS, "missing key", "flipped bits", "wrong type", "entry twice")
        | why(OPTIONAL, "missing"),
        FREE,
    ),
    Format(
        "folds.infos.pkl",
        folds,
        "semantic/semantickitti_infos_*.pkl",
        read_folds,
        ANY | PICKLE,
        why(RAW, "flipped bits", "absurd value")
        | why(WORDS, "wrong type", "entry twice")
        | why(OPTIONAL, "missing key", "null", "list for a record", "missing", "wrong root"),
        FREE,
    ),
)
