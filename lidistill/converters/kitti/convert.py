# SPDX-License-Identifier: Apache-2.0
"""KITTI's object benchmark (or any data set in its layout) to info files."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lidistill.converters.infos import INFO_VERSION, KITTI_CLASSES, write_infos
from lidistill.converters.kitti.files import DONT_CARE, MissingFileError, read_frame_list
from lidistill.converters.kitti.info import FrameOptions, frame_info
from lidistill.converters.kitti.tracks import Origin, find_origins
from lidistill.converters.parts import PartStore, finished_before, remember
from lidistill.io import DataError, dump_pickle, parallel

LOGGER = logging.getLogger("lidistill.create_data")
WORK_FOLDER = ".create_data_kitti"
SHARD = 50  # frames per part: few files, little work lost to a kill
POINT_FOLDERS = ("velodyne", "velodyne_reduced")


def convert_kitti(
    root: str | Path,
    out_dir: str | Path | None = None,
    jobs: int | None = 1,
    engine: str = "loky",
    points: str = "velodyne",
    with_plane: bool = False,
    skip_incomplete: bool = False,
    restart: bool = False,
) -> dict[str, Path]:
    """Writes ``kitti_infos_<split>.pkl`` for train, val, trainval and test.

    The files follow mmdet3d's v1.1 schema, so its KittiDataset reads them. Splits come from
    ``ImageSets/``; without that folder they are derived from the files (every second labelled frame
    to val), which is logged and written to the manifest.

    Args:
        root: The data root: holds training/ and testing/.
        out_dir: Where the info files go; the data root by default.
        jobs: Processes; None takes every core.
        engine: loky, ray or dask.
        points: Folder of the point clouds: velodyne, or velodyne_reduced (cut to the image).
        with_plane: Add the ground planes of ``training/planes/``.
        skip_incomplete: Leave out frames of which a file is missing, instead of an error; then
            every run looks again.
        restart: Convert again what was finished from the same folders with the same parameters.

    Returns:
        Split name -> info file.

    Raises:
        DataError: A file is missing or damaged; says what to do.
    """
    root = Path(root)
    if points not in POINT_FOLDERS:
        raise ValueError(f"points: expected one of {', '.join(POINT_FOLDERS)}, got {points!r}.")
    splits, origin = find_frames(root)
    target = Path(out_dir) if out_dir is not None else root
    parameters = {
        "points": points,
        "with_plane": with_plane,
        "skip_incomplete": skip_incomplete,
        "splits_from": origin,
        "info_version": INFO_VERSION,
    }
    shards = _shards(splits)
    folders = {part: _point_folder(root, part, points) for part in ("training", "testing")}
    asked = {
        **parameters,
        "root": str(root.resolve()),
        "splits": splits,
        "folders": {str(p): p.stat().st_mtime_ns for p in sorted(root.glob("t*ing/*"))},
    }
    fingerprint = {**asked, "shards": shards}
    known = finished_before(target / WORK_FOLDER, asked, restart)
    if known is not None:
        return known
    with PartStore(target / WORK_FOLDER, fingerprint) as store:
        missing = store.missing(shards)
        if len(missing) < len(shards):
            LOGGER.info("%d of %d parts are done", len(shards) - len(missing), len(shards))
        work = functools.partial(
            _convert_shard,
            folder=store.folder,
            options={
                part: FrameOptions(root, part, folder, with_plane)
                for part, folder in folders.items()
            },
            skip_incomplete=skip_incomplete,
        )
        origins = find_origins(root)
        items = [_shard(name, shards[name], origins) for name in missing]
        description = f"Convert KITTI frames (by {SHARD})"
        for _ in parallel(work, items, jobs, engine, description):
            pass
        frames = _load(store, shards)
        written = {}
        for split, numbers in splits.items():
            part = "testing" if split == "test" else "training"
            infos = [frames[part, n] for n in numbers if (part, n) in frames]
            if len(infos) < len(numbers):
                count = len(numbers) - len(infos)
                LOGGER.warning("%s: left out %d frames with missing files", split, count)
            if not infos:
                continue
            path = target / f"kitti_infos_{split}.pkl"
            metainfo = {**_metainfo(split), "points_folder": folders[part]}
            write_infos(path, metainfo, infos, {**parameters, "split": split}, str(root))
            written[split] = path
        store.finish()
    if not written:
        raise DataError(
            "Every frame lacks files.",
            path=root,
            fix="extract KITTI's archives into the data root.",
        )
    if not skip_incomplete:
        remember(target / WORK_FOLDER, asked, written)
    return written


def _point_folder(root: Path, part: str, points: str) -> str:
    """Full scans hold the reduced ones' points, so they stand in where a part has only them."""
    if points == "velodyne_reduced" and not (root / part / points).is_dir():
        if (root / part / "velodyne").is_dir():
            LOGGER.warning("%s has no velodyne_reduced: taking its velodyne", root / part)
        return "velodyne"
    return points


def find_frames(root: Path) -> tuple[dict[str, list[int]], str]:
    """Returns the frames of each split, and whether they come from ``ImageSets`` or ``files``.

    Raises:
        DataError: There are neither lists nor labelled frames.
    """
    folder = root / "ImageSets"
    splits: dict[str, list[int]] = {}
    for split in ("train", "val", "trainval", "test"):
        path = folder / f"{split}.txt"
        if path.is_file():
            splits[split] = read_frame_list(path)
    origin = "ImageSets"
    if not splits:
        splits, origin = _frames_of_files(root), "files"
        if any(splits.values()):
            sizes = ", ".join(f"{name} {len(frames)}" for name, frames in splits.items())
            LOGGER.warning("%s holds no lists: splits derived from the files: %s", folder, sizes)
    if "train" in splits and "val" in splits:
        splits["trainval"] = splits["train"] + splits["val"]
    order = [name for name in ("train", "val", "trainval", "test") if splits.get(name)]
    if not order:
        raise DataError(
            "Expected KITTI's object benchmark: ImageSets/*.txt or training/label_2/*.txt; got "
            "neither.",
            path=root,
            fix="pass the folder that holds training/ and testing/ with --root; a synthetic one "
            "comes from: lidistill world --layout kitti --out DIR",
        )
    return {name: splits[name] for name in order}, origin


def _frames_of_files(root: Path) -> dict[str, list[int]]:
    labelled = _numbers((root / "training" / "label_2").glob("*.txt"))
    test = _numbers((root / "testing" / "image_2").glob("*.png"))
    return {"train": labelled[::2], "val": labelled[1::2], "test": test}


def _numbers(paths: Iterable[Path]) -> list[int]:
    return sorted(int(path.stem) for path in paths if path.stem.isdecimal())


def _shards(splits: dict[str, list[int]]) -> dict[str, list[int]]:
    """Every frame once, cut into parts: name -> frame numbers."""
    training = sorted({n for split, frames in splits.items() if split != "test" for n in frames})
    testing = sorted(set(splits.get("test", [])))
    return {
        f"{part}_{start:06d}": frames[start : start + SHARD]
        for part, frames in (("training", training), ("testing", testing))
        for start in range(0, len(frames), SHARD)
    }


Shard = tuple[str, list[tuple[int, Origin | None]]]


def _shard(name: str, numbers: list[int], origins: Mapping[int, Origin]) -> Shard:
    known = origins if name.startswith("training") else {}
    return name, [(number, known.get(number)) for number in numbers]


def _convert_shard(
    item: Shard,
    folder: Path,
    options: dict[str, FrameOptions],
    skip_incomplete: bool,
) -> None:
    """Runs in a worker process: some frames to one part."""
    name, numbers = item
    infos = []
    for number, origin in numbers:
        try:
            infos.append(frame_info(number, options[name.split("_")[0]], origin))
        except MissingFileError:
            if not skip_incomplete:
                raise
    dump_pickle(folder / f"{name}.pkl", infos)


def _load(store: PartStore, shards: Iterable[str]) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (name.split("_")[0], info["sample_idx"]): info
        for name in shards
        for info in store.load(name)
    }


def _metainfo(split: str) -> dict[str, Any]:
    categories = {name: index for index, name in enumerate(KITTI_CLASSES)}
    return {
        "categories": {**categories, DONT_CARE: -1},
        "dataset": "kitti",
        "info_version": INFO_VERSION,
        "split": split,
        "writer": "lidistill",
    }
