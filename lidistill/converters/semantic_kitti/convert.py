# SPDX-License-Identifier: Apache-2.0
"""SemanticKITTI (or any data set in its layout) to info files: scans, labels, poses; no images."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.infos import INFO_VERSION, write_infos
from lidistill.converters.kitti.files import MissingFileError, missing
from lidistill.converters.parts import PartStore
from lidistill.converters.semantic_kitti.labels import SEMANTIC_KITTI_CLASSES, SEQUENCES
from lidistill.geometry.frames import compose, invert
from lidistill.io import DataError, dump_pickle, parallel, point_count, read_json

LOGGER = logging.getLogger("lidistill.create_data")
WORK_FOLDER = ".create_data_semantickitti"
NUM_FEATURES = 4  # x, y, z, remission: float32
AGAIN = "extract this file again from the dataset's archive."


@dataclass(frozen=True)
class KittiSequence:
    """One sequence on disk.

    Attributes:
        name: Its folder, e.g. ``08``.
        split: The split it belongs to.
        folder: ``<root>/sequences/<name>``.
        prefix: The folder counted from the data root.
        labelled: Whether each scan needs a label file.
    """

    name: str
    split: str
    folder: Path
    prefix: str
    labelled: bool


def convert_semantic_kitti(
    root: str | Path,
    out_dir: str | Path | None = None,
    jobs: int | None = 1,
    engine: str = "loky",
    skip_incomplete: bool = False,
) -> dict[str, Path]:
    """Writes ``semantickitti_infos_<split>.pkl`` for train, val and test.

    Train is sequences 00-07, 09 and 10, val is 08, test 11-21 (written where it is there), unless
    ``<root>/splits.json`` says otherwise: ``{"train": ["00"], "val": ["08"]}``.

    Args:
        root: The data root: holds sequences/ or dataset/sequences/.
        out_dir: Where the info files go; the data root by default.
        jobs: Processes; None takes every core.
        engine: loky, ray or dask.
        skip_incomplete: Leave out sequences and scans of which a file is missing, instead of an
            error.

    Returns:
        Split name -> info file.

    Raises:
        DataError: A file is missing or damaged; says what to do.
    """
    root = Path(root)
    splits = find_sequences(root, skip_incomplete)
    sequences = [sequence for members in splits.values() for sequence in members]
    target = Path(out_dir) if out_dir is not None else root
    parameters = {"skip_incomplete": skip_incomplete, "info_version": INFO_VERSION}
    stamps = {
        _part(sequence): [path.stat().st_mtime_ns for path in sorted(sequence.folder.iterdir())]
        for sequence in sequences
    }
    fingerprint = {**parameters, "root": str(root.resolve()), "sequences": stamps}
    with PartStore(target / WORK_FOLDER, fingerprint) as store:
        todo = store.missing(_part(sequence) for sequence in sequences)
        if len(todo) < len(sequences):
            LOGGER.info("%d of %d sequences are done", len(sequences) - len(todo), len(sequences))
        work = functools.partial(
            _convert_sequence, folder=store.folder, skip_incomplete=skip_incomplete
        )
        items = [sequence for sequence in sequences if _part(sequence) in set(todo)]
        for _ in parallel(work, items, jobs, engine, "Convert SemanticKITTI sequences"):
            pass
        written = {}
        for split, members in splits.items():
            path = target / f"semantickitti_infos_{split}.pkl"
            extra = {"split": split, "sequences": [sequence.name for sequence in members]}
            frames = _merge(store, members, root)
            write_infos(path, _metainfo(split), frames, {**parameters, **extra}, str(root))
            written[split] = path
        store.finish()
    return written


def find_sequences(root: Path, skip_missing: bool = False) -> dict[str, list[KittiSequence]]:
    """Returns the sequences of each split that is there.

    Raises:
        DataError: There is no sequence at all, or some of train's or val's are missing.
    """
    prefix = next((p for p in ("sequences", "dataset/sequences") if (root / p).is_dir()), None)
    if prefix is None:
        raise DataError(
            "Expected SemanticKITTI: a folder sequences/ (or dataset/sequences/) with 00/velodyne "
            "and 00/labels; there is none.",
            path=root,
            fix="pass the folder that holds sequences/ with --root.",
        )
    found: dict[str, list[KittiSequence]] = {}
    for split, names in _splits(root).items():
        there = [name for name in names if (root / prefix / name / "velodyne").is_dir()]
        gone = [name for name in names if name not in there]
        if gone and there and not skip_missing:
            raise DataError(
                f"Split {split!r}: sequences {', '.join(gone)} have no velodyne folder.",
                path=root / prefix,
                fix="extract data_odometry_velodyne.zip there, name the sequences that you have in "
                f"{root / 'splits.json'}, or leave these out with --skip-incomplete.",
            )
        if gone:
            LOGGER.warning("%s: left out, not there: %s", split, ", ".join(gone))
        members = [
            KittiSequence(name, split, root / prefix / name, f"{prefix}/{name}", split != "test")
            for name in there
        ]
        if members:
            found[split] = members
    if not found:
        raise DataError(
            "None of the splits' sequences has a velodyne folder.",
            path=root / prefix,
            fix="extract data_odometry_velodyne.zip and data_odometry_labels.zip there.",
        )
    return found


def _splits(root: Path) -> dict[str, Sequence[str]]:
    path = root / "splits.json"
    if not path.exists():
        return dict(SEQUENCES)
    content = read_json(path)
    if not isinstance(content, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names)
        for names in content.values()
    ):
        raise DataError(
            'Expected {"train": ["00", ...], "val": ["08"]}.', path=path, fix="mend this file."
        )
    return content


def _part(sequence: KittiSequence) -> str:
    return f"{sequence.split}_{sequence.name}"


def _convert_sequence(sequence: KittiSequence, folder: Path, skip_incomplete: bool) -> None:
    """Runs in a worker process: one sequence to one part."""
    scans = sorted(path for path in (sequence.folder / "velodyne").glob("*.bin"))
    if not scans:
        raise missing("Scans (*.bin)", sequence.folder / "velodyne", sequence.name)
    poses = lidar_poses(sequence.folder, len(scans))
    infos, left_out = [], 0
    for number, scan in enumerate(scans):
        try:
            infos.append(scan_info(sequence, scan, None if poses is None else poses[number]))
        except MissingFileError:
            if not skip_incomplete:
                raise
            left_out += 1
    dump_pickle(folder / f"{_part(sequence)}.pkl", {"frames": infos, "left_out": left_out})


def scan_info(
    sequence: KittiSequence, scan: Path, pose: NDArray[np.float64] | None
) -> dict[str, Any]:
    """Returns the info of one scan, ``sample_idx`` left open.

    Args:
        sequence: It belongs to.
        scan: The ``.bin`` file.
        pose: (4, 4) first scan of the sequence from this scan, LiDAR frames, or None.

    Raises:
        DataError: A file is missing, or cut: there must be one 4-byte label a point.
    """
    token = f"{sequence.name}_{scan.stem}"
    points = point_count(scan, NUM_FEATURES, token, AGAIN)
    info: dict[str, Any] = {
        "token": token,
        "scene_name": sequence.name,
        "lidar_points": {
            "lidar_path": f"{sequence.prefix}/velodyne/{scan.name}",
            "num_pts_feats": NUM_FEATURES,
        },
    }
    if pose is not None:
        info["first_from_lidar"] = pose.tolist()
    if sequence.labelled:
        labels = sequence.folder / "labels" / f"{scan.stem}.label"
        if not labels.is_file():
            raise missing("Labels", labels, token, "extract data_odometry_labels.zip")
        size = labels.stat().st_size
        if size != 4 * points:
            raise DataError(
                f"Expected a 4-byte label for each of {points} points, got {size} bytes.",
                path=labels,
                token=token,
                fix=AGAIN,
            )
        info["pts_semantic_mask_path"] = f"{sequence.prefix}/labels/{labels.name}"
    return info


def lidar_poses(folder: Path, scans: int) -> NDArray[np.float64] | None:
    """Returns the pose of each scan in the LiDAR frame of the sequence's first one.

    ``poses.txt`` gives camera 0 in the frame of its first image, ``calib.txt`` (``Tr``) camera 0
    from LiDAR.

    Args:
        folder: Of the sequence.
        scans: How many there are.

    Returns:
        (scans, 4, 4) float64, or None where one of the two files is not there.

    Raises:
        DataError: A file is damaged, or has another number of poses.
    """
    poses, calibration = folder / "poses.txt", folder / "calib.txt"
    if not (poses.is_file() and calibration.is_file()):
        return None
    lines = calibration.read_text(encoding="utf-8").splitlines()
    found = [line.partition(":")[2] for line in lines if line.split(":")[0].strip() == "Tr"]
    if len(found) != 1:
        raise DataError("Expected one line 'Tr: ...'.", path=calibration, fix=AGAIN)
    camera_from_lidar = _matrices(found, calibration)[0]
    rows = [line for line in poses.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(rows) != scans:
        raise DataError(
            f"Expected one pose for each of {scans} scans, got {len(rows)}.", path=poses, fix=AGAIN
        )
    lidar_from_camera = invert(camera_from_lidar)
    return np.stack(
        [compose(lidar_from_camera, pose, camera_from_lidar) for pose in _matrices(rows, poses)]
    )


def _matrices(rows: Sequence[str], path: Path) -> NDArray[np.float64]:
    """(R, 4, 4) of rows of twelve numbers."""
    result = np.tile(np.eye(4), (len(rows), 1, 1))
    for number, row in enumerate(rows):
        try:
            result[number, :3] = np.array([float(value) for value in row.split()]).reshape(3, 4)
        except ValueError as error:
            raise DataError(
                f"Matrix {number + 1}: expected twelve numbers: {error}.", path=path, fix=AGAIN
            ) from error
    return result


def _merge(store: PartStore, members: Sequence[KittiSequence], root: Path) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    for sequence in members:
        part = store.load(_part(sequence))
        if part["left_out"]:
            LOGGER.warning(
                "%s: left out %d scans with missing files", sequence.name, part["left_out"]
            )
        for frame in part["frames"]:
            frames.append({"sample_idx": len(frames), **frame})
    if not frames:
        raise DataError(
            f"No scan of split {members[0].split!r} has all its files.", path=root, fix=AGAIN
        )
    return frames


def _metainfo(split: str) -> dict[str, Any]:
    return {
        "categories": {name: index for index, name in enumerate(SEMANTIC_KITTI_CLASSES)},
        "dataset": "semantickitti",
        "info_version": INFO_VERSION,
        "split": split,
        "writer": "lidistill",
    }
