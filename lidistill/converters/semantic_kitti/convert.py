# SPDX-License-Identifier: Apache-2.0
"""SemanticKITTI (or any data set in its layout) to info files.

Scans, labels, poses, and the left colour images (``image_2``) of the sequences that have them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.contents import Contents
from lidistill.converters.infos import INFO_VERSION, write_infos
from lidistill.converters.kitti.camera import SequenceCamera, image_files, odometry_camera
from lidistill.converters.kitti.files import MissingFileError, missing
from lidistill.converters.parts import PartStore, stamp
from lidistill.converters.semantic_kitti.labels import SEMANTIC_KITTI_CLASSES, STORED_LABELS
from lidistill.converters.semantic_kitti.poses import lidar_poses
from lidistill.converters.semantic_kitti.splits import (
    KittiSequence,
    find_sequences,
    names_of,
    part_name,
)
from lidistill.io import (
    FILE_AGAIN,
    DataError,
    dump_pickle,
    finite_points,
    ordered_files,
    parallel,
    point_count,
    read_points,
)

LOGGER = logging.getLogger("lidistill.create_data")
WORK_FOLDER = ".create_data_semantickitti"
NUM_FEATURES = 4  # x, y, z, remission: float32
COLUMNS = ("x", "y", "z", "remission")
MAX_READ = 50  # scans a sequence whose points and labels are read and counted
IGNORED = SEMANTIC_KITTI_CLASSES[0]
TAUGHT = SEMANTIC_KITTI_CLASSES[1:]
AGAIN = FILE_AGAIN


def convert_semantic_kitti(
    root: str | Path,
    out_dir: str | Path | None = None,
    jobs: int | None = 1,
    engine: str = "loky",
    skip_incomplete: bool = False,
    columns: int = NUM_FEATURES,
) -> dict[str, Path]:
    """Writes ``semantickitti_infos_<split>.pkl`` for train, val and test.

    Train is sequences 00-07, 09 and 10, val is 08, test 11-21 (written where it is there), unless
    ``<root>/splits.json`` says otherwise: ``{"train": ["00"], "val": ["08"]}``. A sequence with
    images in ``image_2`` gets them as camera ``CAM2``, calibrated by its ``calib.txt``.

    Args:
        root: The data root: holds sequences/ or dataset/sequences/.
        out_dir: Where the info files go; the data root by default.
        jobs: Processes; None takes every core.
        engine: loky, ray or dask.
        skip_incomplete: Leave out sequences and scans of which a file is missing, instead of an
            error.
        columns: float32 values a point in the scans: x, y, z, remission, more.

    Returns:
        Split name -> info file.

    Raises:
        DataError: A file is missing or damaged; says what to do.
    """
    root = Path(root)
    if columns < NUM_FEATURES:
        raise ValueError(
            f"columns: expected {NUM_FEATURES} or more (x, y, z, remission), got {columns}; write "
            "a column of zeros where a LiDAR has no remission."
        )
    splits = find_sequences(root, skip_incomplete)
    sequences = [sequence for members in splits.values() for sequence in members]
    target = Path(out_dir) if out_dir is not None else root
    parameters = {
        "skip_incomplete": skip_incomplete,
        "info_version": INFO_VERSION,
        "columns": columns,
    }
    stamps = {
        f"{sequence.split}/{sequence.name}": {
            path.name: stamp(path) for path in sequence.folder.iterdir()
        }
        for sequence in sequences
    }
    fingerprint = {**parameters, "root": str(root.resolve()), "sequences": stamps}
    with PartStore(target / WORK_FOLDER, fingerprint) as store:
        todo = store.missing(part_name(sequence) for sequence in sequences)
        if len(todo) < len(sequences):
            LOGGER.info("%d of %d sequences are done", len(sequences) - len(todo), len(sequences))
        work = functools.partial(
            _convert_sequence,
            folder=store.folder,
            skip_incomplete=skip_incomplete,
            columns=columns,
        )
        items = [sequence for sequence in sequences if part_name(sequence) in set(todo)]
        for _ in parallel(work, items, jobs, engine, "Convert SemanticKITTI sequences"):
            pass
        written = {}
        for split, members in splits.items():
            path = target / f"semantickitti_infos_{split}.pkl"
            extra = {"split": split, "sequences": names_of(members)}
            frames, contents = _merge(store, members, root)
            _warn(split, contents)
            manifest = {**parameters, **extra}
            found = contents.to_dict()
            write_infos(path, _metainfo(split), frames, manifest, str(root), found)
            written[split] = path
        store.finish()
    return written


def _convert_sequence(
    sequence: KittiSequence, folder: Path, skip_incomplete: bool, columns: int
) -> None:
    """Runs in a worker process: one sequence to one part."""
    scans = ordered_files(sequence.folder / "velodyne", ".bin")
    if not scans:
        raise missing("Scans (*.bin)", sequence.folder / "velodyne", sequence.name)
    if sequence.labelled and not skip_incomplete:
        _refuse_lone_labels(sequence, scans)
    poses = lidar_poses(sequence.folder, len(scans))
    images = image_files(sequence.folder / "image_2")
    camera = None
    if images:
        camera = odometry_camera(sequence.folder / "calib.txt", sequence.name)
    infos, left_out, contents = [], 0, Contents(TAUGHT)
    step = -(-len(scans) // MAX_READ)
    for number, scan in enumerate(scans):
        pose = None if poses is None else poses[number]
        try:
            info = scan_info(sequence, scan, pose, columns)
            if camera is not None:
                info["images"] = {"CAM2": _image(sequence, camera, images, scan, info["token"])}
        except MissingFileError as error:
            if not skip_incomplete:
                raise error.or_skip() from error
            left_out += 1
            continue
        infos.append(info)
        _look(contents, sequence, scan, columns, info, camera, read=number % step == 0)
    part = {"frames": infos, "left_out": left_out, "contents": contents.to_dict()}
    dump_pickle(folder / f"{part_name(sequence)}.pkl", part)


def _image(
    sequence: KittiSequence,
    camera: SequenceCamera,
    images: Mapping[str, Path],
    scan: Path,
    token: str,
) -> dict[str, Any]:
    """The image of a scan; a sequence has one for each of its scans, or none at all."""
    if scan.stem not in images:
        path = sequence.folder / "image_2" / f"{scan.stem}.png"
        raise missing(
            "Image of a scan",
            path,
            token,
            "put it there (of the benchmark: data_odometry_color.zip), or take image_2 out",
        )
    path = images[scan.stem]
    return camera.image(path, f"{sequence.prefix}/image_2/{path.name}", token)


def _refuse_lone_labels(sequence: KittiSequence, scans: Sequence[Path]) -> None:
    """Labels tell which scans there were: one that is lost would pass unseen."""
    known = {scan.stem for scan in scans}
    labels = ordered_files(sequence.folder / "labels", ".label")
    lone = [path for path in labels if path.stem not in known]
    if lone:
        scan = sequence.folder / "velodyne" / f"{lone[0].stem}.bin"
        raise missing("Scan of a label file", scan, sequence.name)


def _look(
    contents: Contents,
    sequence: KittiSequence,
    scan: Path,
    columns: int,
    info: Mapping[str, Any],
    camera: SequenceCamera | None,
    read: bool,
) -> None:
    """Counts a scan; some are read, for their values and labels."""
    token = info["token"]
    if not read:
        contents.add_frame(point_count(scan, columns, token, AGAIN))
        return
    points = finite_points(read_points(scan, columns, token, AGAIN), scan, token)
    contents.add_frame(len(points), points, COLUMNS)
    if camera is not None:
        camera.count(points, info["images"]["CAM2"], contents)
    if not sequence.labelled:
        return
    stored = np.fromfile(sequence.folder / "labels" / f"{scan.stem}.label", dtype="<u4")
    values, counts = np.unique(stored & 0xFFFF, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        name, kind = STORED_LABELS.get(value, (f"{value}, unknown", None))
        contents.add_point_labels(name, None if kind == IGNORED else kind, count)


def scan_info(
    sequence: KittiSequence,
    scan: Path,
    pose: NDArray[np.float64] | None,
    columns: int = NUM_FEATURES,
) -> dict[str, Any]:
    """Returns the info of one scan, ``sample_idx`` left open.

    Args:
        sequence: It belongs to.
        scan: The ``.bin`` file.
        pose: (4, 4) first scan of the sequence from this scan, LiDAR frames, or None.
        columns: float32 values a point.

    Raises:
        DataError: A file is missing, or cut: there must be one 4-byte label a point.
    """
    token = f"{sequence.name}_{scan.stem}"
    points = point_count(scan, columns, token, AGAIN)
    info: dict[str, Any] = {
        "token": token,
        "scene_name": sequence.name,
        "lidar_points": {
            "lidar_path": f"{sequence.prefix}/velodyne/{scan.name}",
            "num_pts_feats": columns,
        },
    }
    if pose is not None:
        info["first_from_lidar"] = pose.tolist()
    if sequence.labelled:
        labels = sequence.folder / "labels" / f"{scan.stem}.label"
        if not labels.is_file():
            raise missing(
                "Labels", labels, token, "put it there (of SemanticKITTI: data_odometry_labels.zip)"
            )
        size = labels.stat().st_size
        if size != 4 * points:
            raise DataError(
                f"Expected a 4-byte label for each of {points} points, got {size} bytes"
                f"{_other_width(size, points, scan, columns)}.",
                path=labels,
                token=token,
                fix=f"{AGAIN} Labels are unsigned integers of 32 bits; points of another width "
                "need --columns.",
            )
        info["pts_semantic_mask_path"] = f"{sequence.prefix}/labels/{labels.name}"
    return info


def _other_width(size: int, points: int, scan: Path, columns: int) -> str:
    """What the sizes of the two files speak for, in words."""
    for other in (1, 2, 8):
        if size == other * points:
            return f", which is {other} a point"
    per_point, rest = divmod(scan.stat().st_size, size) if size else (0, 1)
    if rest == 0 and per_point not in (0, columns):
        return f"; {per_point} values a point would fit the labels"
    return ""


def _merge(
    store: PartStore, members: Sequence[KittiSequence], root: Path
) -> tuple[list[dict[str, Any]], Contents]:
    frames: list[dict[str, Any]] = []
    contents = Contents(TAUGHT)
    for sequence in members:
        part = store.load(part_name(sequence))
        if part["left_out"]:
            LOGGER.warning(
                "%s: left out %d scans with missing files", sequence.name, part["left_out"]
            )
        contents.merge(Contents.from_dict(part["contents"]))
        for frame in part["frames"]:
            frames.append({"sample_idx": len(frames), **frame})
    if not frames:
        raise DataError(
            f"No scan of split {members[0].split!r} has all its files.",
            path=root,
            fix="put velodyne/ and labels/ of its sequences there, or leave the split out of "
            "splits.json.",
        )
    return frames, contents


def _warn(split: str, contents: Contents) -> None:
    for text in contents.warnings():
        LOGGER.warning("%s: %s (in the scans that were read)", split, text)
    unknown = [name for name in contents.point_labels if name.endswith("unknown")]
    if unknown:
        LOGGER.warning(
            "%s: label values that SemanticKITTI does not define: %s; training refuses them",
            split,
            "; ".join(f"{n} ({contents.point_labels[n]['points']:,} points)" for n in unknown),
        )


def _metainfo(split: str) -> dict[str, Any]:
    return {
        "categories": {name: index for index, name in enumerate(SEMANTIC_KITTI_CLASSES)},
        "dataset": "semantickitti",
        "info_version": INFO_VERSION,
        "split": split,
        "writer": "lidistill",
    }
