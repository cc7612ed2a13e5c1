# SPDX-License-Identifier: Apache-2.0
"""Trials of tracks, poses and object banks."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.converters.nuscenes.results import TRACKED, read_boxes
from lidistill.converters.object_bank.bank import read_bank
from lidistill.converters.object_bank.build import BankReader, build_bank
from lidistill.converters.object_bank.compose import compose
from lidistill.converters.object_bank.finish import make_bank
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.sources import kitti
from lidistill.converters.object_bank.sources.arrays import ArraySource
from lidistill.converters.object_bank.sources.semantic_kitti import SemanticKittiSource
from lidistill.converters.object_bank.sources.tracklets import read_tracklets
from tests.converters.fake_semantic_kitti import write_fake_semantic_kitti
from tests.converters.object_bank.drives import sensor_boxes as boxes_of
from tests.converters.object_bank.drives import (
    write_arrays,
    write_poses,
    write_raw,
    write_scans,
    write_tracking,
    write_tracklets,
)
from tests.converters.object_bank.scenes import ListSource, make_scene
from tests.robustness.mutate_form import FREE, OPTIONAL, RAW, ROWS, WORDS, Format, why
from tests.robustness.mutate_kinds import ANY, JSON, TEXT, Mutation, labels, pick, points

NOTES = {"notes": "what was left out is said there"}


# -- archives of arrays ----------------------------------------------------------------------------
def _archive(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npz() -> dict[str, Mutation]:
    """One array of an archive changed; its sums are right again."""

    def one(change: Callable[[np.ndarray, np.random.Generator], Any]) -> Mutation:
        def mutation(data: bytes, rng: np.random.Generator) -> bytes | None:
            with np.load(io.BytesIO(data), allow_pickle=True) as archive:
                arrays = {name: archive[name] for name in archive.files}
            name = pick(rng, sorted(arrays))
            changed = change(arrays[name], rng)
            if changed is None:
                del arrays[name]
            else:
                arrays[name] = changed
            return _archive(arrays)

        return mutation

    def value(values: tuple[float, ...]) -> Mutation:
        def change(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            if array.dtype.kind not in "fiu" or not array.size:
                raise IndexError
            chosen = pick(rng, values)
            if array.dtype.kind in "iu":
                limits = np.iinfo(array.dtype)
                chosen = limits.max if np.nan_to_num(chosen) >= 0 else limits.min
            array = array.copy()
            array.flat[int(rng.integers(array.size))] = chosen
            return array

        return one(change)

    def retyped(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        kinds = ["U3", "O"] if array.dtype.kind == "U" else ["f8", "c16", "U3", "O", "i8"]
        return array.astype(pick(rng, kinds))

    return {
        "wrong type": one(retyped),
        "wrong shape": one(
            lambda a, rng: pick(rng, [a.ravel(), a[None], a[:-1], a[:0], a[..., None]])
        ),
        "missing key": one(lambda a, rng: None),
        "NaN": value((np.nan, np.inf)),
        "absurd value": value((1e30, -1e30)),
    }


# -- drives ----------------------------------------------------------------------------------------
def drives(root: Path) -> None:
    tracks = make_scene(root / "made", sweeps=False, ground=900)  # enough to tell their columns
    write_tracking(root / "tracking", tracks)
    write_raw(root / "2011_09_26", tracks)
    write_scans(root / "velodyne", tracks, "07{:04d}.bin")
    write_poses(root / "poses.txt", tracks)
    write_tracklets(root / "tracklets.xml", boxes_of(tracks))
    write_arrays(root / "arrays" / "one", tracks)


def _tracks(source: Any) -> dict[str, Any]:
    """Tracks of the only scene, and how many points its objects have."""
    tracks = source.read(source.scenes()[0])
    bank = make_bank(tracks, BankOptions())
    return {"tracks": dataclasses.asdict(tracks), "points": bank.offsets}


def read_tracking(root: Path) -> Any:
    return _tracks(kitti.KittiSource(kitti.tracking_drives(root / "tracking")))


def read_raw(root: Path) -> Any:
    drive = root / "2011_09_26" / "2011_09_26_drive_0003_sync"
    return _tracks(kitti.KittiSource([kitti.raw_drive(drive)]))


def read_scans(root: Path) -> Any:
    tracks = read_tracklets(root / "tracklets.xml")
    scans = str(root / "velodyne" / "07{frame}.bin")
    return _tracks(
        kitti.KittiSource([kitti.pattern_drive("07", scans, tracks, root / "poses.txt")])
    )


def read_arrays(root: Path) -> Any:
    return _tracks(ArraySource(root / "arrays"))


_FEWER = {
    **NOTES,
    r"tracks[.](tokens|names|moving|box|world|sizes|counts)|points": "other boxes, other tracks",
}
_POINTS = {r"points": "as many as lie in the boxes", r"world_from_box": "boxes move with poses"}
_DRIVES = (
    Format(
        "tracking.label",
        drives,
        "tracking/training/label_02/*.txt",
        read_tracking,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut", "longer")
        | why(ROWS, "line gone", "cut", "another value"),
        _FEWER,
    ),
    Format(
        "tracking.calib",
        drives,
        "tracking/training/calib/*.txt",
        read_tracking,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut", "longer")
        | why("without Tr_imu_to_velo there are no poses", "line gone")
        | why("P2 is not used", "wrong type", "wrong width", "NaN", "absurd value"),
        {**_FEWER, "frames": "poses may be left out"},
    ),
    Format(
        "tracking.oxts",
        drives,
        "tracking/training/oxts/*.txt",
        read_tracking,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "absurd value")
        | why("more lines than scans are right", "line twice", "longer")
        | why("without the file there are no poses", "missing"),
        {**_FEWER, "frames": "poses may be left out"},
    ),
    Format(
        "tracking.bin",
        drives,
        "tracking/training/velodyne/*/*.bin",
        read_tracking,
        ANY | points(4),
        why(RAW, "flipped bits", "cut", "zeros", "longer", "NaN", "absurd value")
        | why("a frame may have no scan", "missing", "folder"),
        {**_FEWER, "frames": "a frame may have no scan"},
    ),
    Format(
        "raw.tracklets",
        drives,
        "2011_09_26/*/tracklet_labels.xml",
        read_raw,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value") | why(WORDS, "latin-1"),
        _FEWER,
    ),
    Format(
        "raw.oxts",
        drives,
        "2011_09_26/*/oxts/data/*.txt",
        read_raw,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut", "longer")
        | why("a frame may have no packet; it is left out, and said", "missing", "folder"),
        {**_FEWER, "frames": "poses count from the first packet"},
    ),
    Format(
        "raw.imu_calib",
        drives,
        "2011_09_26/calib_imu_to_velo.txt",
        read_raw,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "longer", "cut"),
        {**_FEWER, "frames": "poses follow from it"},
    ),
    Format(
        "scans.poses",
        drives,
        "poses.txt",
        read_scans,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut")
        | why("more lines than scans are right", "line twice", "longer"),
        {**_POINTS, "moving": "who stands follows from the poses"},
    ),
    Format(
        "arrays.npz",
        drives,
        "arrays/*/boxes.npz",
        read_arrays,
        ANY | npz(),
        why("poses may be left out", "missing key")
        | why(WORDS, "wrong type")
        | why(RAW, "absurd value"),
        {**_FEWER, "frames": "poses may be left out"},
    ),
)


# -- SemanticKITTI's instances ---------------------------------------------------------------------
def instances(root: Path) -> None:
    write_fake_semantic_kitti(root, scans=2)
    shutil.rmtree(root / "sequences" / "02")  # it has no poses
    rng = np.random.default_rng(0)
    for file in sorted(root.glob("sequences/*/labels/*.label")):
        count = file.stat().st_size // 4
        values = np.array([10 + (3 << 16), 10 + (4 << 16), 40, 252 + (5 << 16)], "<u4")
        file.write_bytes(values[rng.integers(0, 4, count)].tobytes())


def read_instances(root: Path) -> Any:
    names = sorted({path.parent.parent.name for path in root.glob("sequences/*/labels/*.label")})
    source = SemanticKittiSource(root, names)
    return {name: dataclasses.asdict(source.read(name)) for name in names}


# -- banks -----------------------------------------------------------------------------------------
def banks(root: Path) -> None:
    tracks = make_scene(root / "made")
    build_bank(ListSource(tracks), root / "bank", BankOptions(mirror=True))
    tracks.frames[2].read().tofile(root / "cloud.bin")


def read_one(root: Path) -> Any:
    bank = read_bank(root / "bank" / "scene.npz")
    points_ = np.fromfile(root / "cloud.bin", "<f4").reshape(-1, 5)
    return {"cloud": compose(points_, bank, 2).cloud, "bank": dataclasses.asdict(bank),
            "notes": bank.notes}  # fmt: skip


def read_reader(root: Path) -> Any:
    reader = BankReader(root / "bank")
    return reader.scenes, reader.parameters, reader.find("frame2")


def linked(root: Path) -> None:
    """Tracks as ``lidistill object_bank tracks`` writes them."""
    box = {"translation": [1.0, 2.0, 0.5], "size": [2.0, 4.0, 1.5], "rotation": [1.0, 0, 0, 0]}
    rows = [{**box, "sample_token": token, "velocity": [0.5, 0.0], "tracking_id": "s_0000",
             "tracking_name": "car", "tracking_score": 0.5} for token in "abc"]  # fmt: skip
    results = {row["sample_token"]: [row] for row in rows}
    (root / "tracks.json").write_text(json.dumps({"meta": {}, "results": results}))


_BANKS = (
    Format(
        "semantickitti.instances",
        instances,
        "sequences/*/labels/*.label",
        read_instances,
        ANY | labels("<u4"),
        why(RAW, "flipped bits", "zeros")
        | why("a sequence has labels or none", "missing", "folder"),
        {"tokens|names|moving|box|sizes|counts|notes": "other instances", "^.[*]": "so"},
    ),
    Format(
        "bank.npz",
        banks,
        "bank/scene.npz",
        read_one,
        ANY | npz(),
        why(RAW, "absurd value", "NaN", "wrong type") | why(OPTIONAL, "wrong shape"),
        {"[.]ring$|cloud": "a bank may have no rings", "names|tokens": "any words"},
    ),
    Format(
        "bank.manifest.json",
        banks,
        "bank/manifest.json",
        read_reader,
        ANY | JSON,
        why(WORDS, *JSON, "flipped bits"),
        FREE,
    ),
    Format(
        "tracks.json",
        linked,
        "tracks.json",
        lambda root: read_boxes(root / "tracks.json", TRACKED),
        ANY | JSON,
        why(RAW, "flipped bits", "absurd value")
        | why(WORDS, "wrong type", "entry twice")
        | why(ROWS, "missing key", "null")
        | why("velocity and score are not used", "NaN"),
        {r"velocity|tracking_score|sample_token": "not used", "[*]|[[]]": "any number of entries"},
    ),
)

TRACKS = (*_DRIVES, *_BANKS)
