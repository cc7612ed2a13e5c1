# SPDX-License-Identifier: Apache-2.0
"""KITTI's object benchmark (or any data set in its layout) to info files."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lidistill.converters.contents import Contents
from lidistill.converters.infos import INFO_VERSION, KITTI_CLASSES, write_infos
from lidistill.converters.kitti.classes import ClassTable
from lidistill.converters.kitti.files import MissingFileError
from lidistill.converters.kitti.info import NUM_FEATURES, FrameOptions, frame_info
from lidistill.converters.kitti.splits import (
    IMAGE_SUFFIXES,
    PRETRAIN,
    find_frames,
    numbers_of,
    order_of,
    warn_of_shared_drives,
)
from lidistill.converters.kitti.tracks import Origin, find_origins
from lidistill.converters.parts import PartStore, finished_before, remember, stamp
from lidistill.io import DataError, dump_pickle, parallel

LOGGER = logging.getLogger("lidistill.create_data")
WORK_FOLDER = ".create_data_kitti"
SHARD = 50  # frames per part: few files, little work lost to a kill
READ_EVERY = 10  # frames without labels: the points of one in so many are read
PARTS = ("training", "testing")
READ = ("t*ing/*", "devkit*/mapping")  # folders below the root
POINT_FOLDERS = ("velodyne", "velodyne_reduced")


def convert_kitti(  # noqa: PLR0913 -- one a flag of the command
    root: str | Path,
    out_dir: str | Path | None = None,
    jobs: int | None = 1,
    engine: str = "loky",
    points: str = "velodyne",
    with_plane: bool = False,
    skip_incomplete: bool = False,
    restart: bool = False,
    columns: int = NUM_FEATURES,
    classes: Sequence[str] | None = None,
    split: str | Path | None = None,
) -> dict[str, Path]:
    """Writes ``kitti_infos_<split>.pkl`` for train, val, trainval and test, and for pretrain.

    The files follow mmdet3d's v1.1 schema, so its KittiDataset reads them. Splits come from
    ``ImageSets/``; without that folder they are derived from the files (every second labelled frame
    to val), which is logged and written to the manifest. The frames of ``ImageSets/pretrain.txt``
    need no labels: there image and scan count. Without ``image_2`` there is LiDAR alone.
    What is in the data is counted on the way: into ``metainfo["contents"]`` and the manifest.

    Args:
        root: The data root: holds training/ and testing/.
        out_dir: Where the info files go; the data root by default.
        jobs: Processes; None takes every core.
        engine: loky, ray or dask.
        points: Folder of the point clouds: velodyne, or velodyne_reduced (cut to the image).
        with_plane: Add the ground planes of ``training/planes/``.
        skip_incomplete: Leave out frames of which a file is missing, instead of an error; then
            every run looks again.
        restart: Convert again what was finished from the same files with the same parameters.
        columns: float32 values a point in the files: x, y, z, reflectance, more.
        classes: What is taught, own names among them; KITTI's eight by default. The others keep
            their names and get label -1.
        split: In place of ``ImageSets/``: ``drives``, or a JSON file of splits; see
            :func:`lidistill.converters.kitti.splits.find_frames`.

    Returns:
        Split name -> info file.

    Raises:
        DataError: A file is missing or damaged; says what to do.
    """
    root = Path(root)
    if points not in POINT_FOLDERS:
        raise ValueError(f"points: expected one of {', '.join(POINT_FOLDERS)}, got {points!r}.")
    if columns < NUM_FEATURES:
        raise ValueError(
            f"columns: expected {NUM_FEATURES} or more (x, y, z, reflectance), got {columns}; "
            "write a column of zeros where a LiDAR has no reflectance."
        )
    table = ClassTable.of(classes)
    origins = find_origins(root)
    splits, origin = find_frames(root, split, origins)
    target = Path(out_dir) if out_dir is not None else root
    parameters = {
        "points": points,
        "with_plane": with_plane,
        "skip_incomplete": skip_incomplete,
        "splits_from": origin,
        "info_version": INFO_VERSION,
        "columns": columns,
        "classes": list(table.taught),
    }
    shards = _shards(splits)
    labelled = {n for name, frames in splits.items() if name != PRETRAIN for n in frames}
    unlabelled = frozenset(splits.get(PRETRAIN, ())) - labelled
    options = {
        part: FrameOptions(
            root,
            part,
            _point_folder(root, part, points),
            with_plane,
            columns,
            _has_images(root / part),
            table,
            unlabelled if part == "training" else frozenset(),
        )
        for part in PARTS
        if any(name.startswith(part) for name in shards)
    }
    asked = {
        **parameters,
        "root": str(root.resolve()),
        "splits": splits,
        "folders": {str(p): stamp(p) for read in READ for p in sorted(root.glob(read))},
    }
    known = finished_before(target / WORK_FOLDER, asked, restart)
    if known is not None:
        return known
    warn_of_shared_drives(splits, origins)
    with PartStore(target / WORK_FOLDER, {**asked, "shards": shards}) as store:
        _convert(store, shards, options, origins, skip_incomplete, jobs, engine)
        frames = _load(store, shards)
        written = {}
        for split_name, names in splits.items():
            part = _part_of(split_name)
            there = [frames[part, name] for name in names if (part, name) in frames]
            if len(there) < len(names):
                count = len(names) - len(there)
                LOGGER.warning("%s: left out %d frames with missing files", split_name, count)
            if not there:
                continue
            path = target / f"kitti_infos_{split_name}.pkl"
            contents = Contents.merged((frame["contents"] for frame in there), table.taught)
            _warn(split_name, contents)
            write_infos(
                path,
                {**_metainfo(split_name, table), "points_folder": options[part].points},
                [frame["info"] for frame in there],
                {**parameters, "split": split_name},
                str(root),
                contents.to_dict(),
            )
            written[split_name] = path
        store.finish()
    if not written:
        raise DataError(
            "Every frame lacks files.",
            path=root,
            fix="put the files of the frames in ImageSets/ there, correct --root, or name the "
            "folder of the points with --points.",
        )
    if not skip_incomplete:
        remember(target / WORK_FOLDER, asked, written)
    return written


def _convert(
    store: PartStore,
    shards: Mapping[str, Sequence[str]],
    options: Mapping[str, FrameOptions],
    origins: Mapping[int, Origin],
    skip_incomplete: bool,
    jobs: int | None,
    engine: str,
) -> None:
    """Makes the parts that are not there yet."""
    missing = store.missing(shards)
    if len(missing) < len(shards):
        LOGGER.info("%d of %d parts are done", len(shards) - len(missing), len(shards))
    work = functools.partial(
        _convert_shard, folder=store.folder, options=options, skip_incomplete=skip_incomplete
    )
    numbers = {
        part: numbers_of(name for shard in shards for name in shards[shard] if part in shard)
        for part in PARTS
    }
    items = [_shard(name, shards[name], numbers[_part(name)], origins) for name in missing]
    for _ in parallel(work, items, jobs, engine, f"Convert KITTI frames (by {SHARD})"):
        pass


def _warn(split: str, contents: Contents) -> None:
    """What looks wrong, and classes that nobody asked for; trainval has its parts' words."""
    if split in ("trainval", PRETRAIN):
        return
    for text in contents.warnings():
        LOGGER.warning("%s: %s", split, text)
    own = {name: count for name, count in contents.untaught.items() if name not in KITTI_CLASSES}
    if own:
        LOGGER.warning(
            "%s: boxes of classes that are not taught: %s; to teach them: --classes Car %s",
            split,
            ", ".join(f"{name} {count}" for name, count in own.items()),
            " ".join(own),
        )


def _has_images(folder: Path) -> bool:
    """Whether a part has camera images; without any it is a data set of LiDAR alone."""
    images = folder / "image_2"
    if any(path.suffix in IMAGE_SUFFIXES for path in _entries(images)):
        return True
    LOGGER.warning(
        "%s holds no image: LiDAR alone is converted, without 2-D boxes and KITTI's difficulties",
        images,
    )
    return False


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _part_of(split: str) -> str:
    return "testing" if split == "test" else "training"


def _point_folder(root: Path, part: str, points: str) -> str:
    """Full scans hold the reduced ones' points, so they stand in where a part has only them."""
    if points == "velodyne_reduced" and not (root / part / points).is_dir():
        if (root / part / "velodyne").is_dir():
            LOGGER.warning("%s has no velodyne_reduced: taking its velodyne", root / part)
        return "velodyne"
    return points


def _shards(splits: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Every frame once, cut into parts: name -> frames."""
    shards = {}
    for part in PARTS:
        names = {n for split, frames in splits.items() if _part_of(split) == part for n in frames}
        ordered = sorted(names, key=order_of)
        for start in range(0, len(ordered), SHARD):
            shards[f"{part}_{start:06d}"] = ordered[start : start + SHARD]
    return shards


def _part(shard: str) -> str:
    return shard.partition("_")[0]


Shard = tuple[str, list[tuple[str, int, Origin | None]]]


def _shard(
    name: str, frames: Sequence[str], numbers: Mapping[str, int], origins: Mapping[int, Origin]
) -> Shard:
    known = origins if _part(name) == "training" else {}
    return name, [(f, numbers[f], known.get(order_of(f)[0])) for f in frames]


def _convert_shard(
    item: Shard,
    folder: Path,
    options: Mapping[str, FrameOptions],
    skip_incomplete: bool,
) -> None:
    """Runs in a worker process: some frames to one part."""
    name, frames = item
    part = []
    for place, (frame, number, origin) in enumerate(frames):
        read = place % READ_EVERY == 0
        try:
            info, contents = frame_info(frame, options[_part(name)], origin, number, read)
        except MissingFileError as error:
            if not skip_incomplete:
                raise error.or_skip() from error
            continue
        part.append({"frame": frame, "info": info, "contents": contents.to_dict()})
    dump_pickle(folder / f"{name}.pkl", part)


def _load(store: PartStore, shards: Iterable[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """(training or testing, frame) -> its info and contents."""
    return {(_part(name), frame["frame"]): frame for name in shards for frame in store.load(name)}


def _metainfo(split: str, table: ClassTable) -> dict[str, Any]:
    return {
        "categories": dict(table.categories),
        "taught": list(table.taught),
        "dataset": "kitti",
        "info_version": INFO_VERSION,
        "split": split,
        "writer": "lidistill",
    }
