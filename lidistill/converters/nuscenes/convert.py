# SPDX-License-Identifier: Apache-2.0
"""nuScenes (or any data set in its layout) to info files."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lidistill.converters.contents import Contents
from lidistill.converters.infos import (
    INFO_VERSION,
    NUSCENES_CLASS_OF,
    NUSCENES_CLASSES,
    write_infos,
)
from lidistill.converters.nuscenes.contents import scene_contents
from lidistill.converters.nuscenes.info import (
    COLUMNS,
    MissingFileError,
    SceneOptions,
    scene_infos,
)
from lidistill.converters.nuscenes.splits import Split, find_splits
from lidistill.converters.nuscenes.tables import NuScenesTables, SceneRecords, table_files
from lidistill.converters.parts import PartStore, finished_before, remember, stamp
from lidistill.io import DataError, dump_pickle, parallel

LOGGER = logging.getLogger("lidistill.create_data")
WORK_FOLDER = ".create_data_nuscenes"
MAX_NOTES = 12  # lines of one kind on the terminal


def convert_nuscenes(
    root: str | Path,
    version: str,
    out_dir: str | Path | None = None,
    jobs: int | None = 1,
    engine: str = "loky",
    max_sweeps: int = 10,
    skip_incomplete: bool = False,
    restart: bool = False,
    lidar: str | None = None,
    columns: int = COLUMNS,
) -> dict[str, Path]:
    """Writes ``lidistill_infos_<split>.pkl`` for each split that has scenes in the tables.

    The files follow mmdet3d's v1.1 schema, so its NuScenesDataset reads them; more fields stand
    beside its own. Scenes are independent jobs: a killed run continues where it stopped, and ends
    with the same bytes as one that ran through. What was converted before, from the same tables
    and files of ``samples/`` with the same parameters, is left as it is.

    Args:
        root: The data root: holds samples/, sweeps/ and the tables' folder.
        version: The tables' folder, any name; ``splits.json`` in it defines the splits of a name
            that nuscenes-devkit does not know.
        out_dir: Where the info files go; the data root by default.
        jobs: Processes; None takes every core.
        engine: loky, ray or dask.
        max_sweeps: LiDAR sweeps to list before each keyframe.
        skip_incomplete: Leave out scenes of which a file is missing, instead of an error; then
            every run looks again.
        restart: Convert again what was finished.
        lidar: Channel of the LiDAR; None takes LIDAR_TOP, or the only one.
        columns: float32 values a point in the files of the LiDAR.

    Returns:
        Split name (train, val, test, or a custom name) -> info file.

    Raises:
        DataError: Tables or sensor files are missing or broken; says what to do.
    """
    root = Path(root)
    if max_sweeps < 0:
        raise ValueError(f"max_sweeps: expected 0 or more, got {max_sweeps}.")
    if columns < 3:
        raise ValueError(f"columns: expected 3 or more (x, y, z), got {columns}.")
    target = Path(out_dir) if out_dir is not None else root
    parameters = {
        "version": version,
        "max_sweeps": max_sweeps,
        "skip_incomplete": skip_incomplete,
        "lidar": lidar,
        "columns": columns,
        "info_version": INFO_VERSION,
    }
    asked = {
        **parameters,
        "root": str(root.resolve()),
        "tables": {p.name: _signature(p) for p in table_files(root / version)},
        # sizes of images and points of boxes may be counted in them; sweeps are named, no more
        "samples": {p.name: stamp(p) for p in sorted(root.glob("samples/*"))},
    }
    known = finished_before(target / WORK_FOLDER, asked, restart)
    if known is not None:
        return known
    tables = NuScenesTables(root, version, lidar)
    splits = find_splits(root, version, [scene["name"] for scene in tables.scenes])
    fingerprint = {
        **asked,
        "splits": {split.name: [split.devkit_name, *split.scenes] for split in splits},
    }
    with PartStore(target / WORK_FOLDER, fingerprint) as store:
        options = SceneOptions(root, version, max_sweeps, columns)
        for split in splits:
            _convert_scenes(tables, split, options, store, skip_incomplete, jobs, engine)
        written = {}
        for split in splits:
            path = target / f"lidistill_infos_{split.name}.pkl"
            frames, contents = _merge(split, tables, store)
            metainfo = _metainfo(version, split, tables)
            extra = {**parameters, "split": split.devkit_name, "scenes": len(split.scenes)}
            for text in contents.warnings():
                LOGGER.warning("%s: %s", split.devkit_name, text)
            source = f"{root} {version}"
            write_infos(path, metainfo, frames, extra, source, contents.to_dict())
            written[split.name] = path
        store.finish()
    if not skip_incomplete:
        remember(target / WORK_FOLDER, asked, written)
    _report_left_out(tables, splits)
    return written


def _signature(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _scenes_of(split: Split, tables: NuScenesTables) -> list[dict[str, Any]]:
    names = set(split.scenes)
    return [scene for scene in tables.scenes if scene["name"] in names]


def _convert_scenes(
    tables: NuScenesTables,
    split: Split,
    options: SceneOptions,
    store: PartStore,
    skip_incomplete: bool,
    jobs: int | None,
    engine: str,
) -> None:
    scenes = _scenes_of(split, tables)
    missing = set(store.missing(scene["token"] for scene in scenes))
    if skip_incomplete:  # the missing files may be there by now
        done = {scene["token"] for scene in scenes} - missing
        missing |= {token for token in done if store.load(token)["skipped"] is not None}
    items = [tables.scene_records(scene) for scene in scenes if scene["token"] in missing]
    if len(items) < len(scenes):
        LOGGER.info(
            "%s: %d of %d scenes are done", split.name, len(scenes) - len(items), len(scenes)
        )
    work = functools.partial(
        _convert_scene, options=options, folder=store.folder, skip_incomplete=skip_incomplete
    )
    for _ in parallel(work, items, jobs, engine, f"Convert {split.devkit_name} scenes"):
        pass


def _convert_scene(
    records: SceneRecords, options: SceneOptions, folder: Path, skip_incomplete: bool
) -> None:
    """Runs in a worker process: one scene to one part."""
    part: dict[str, Any] = {"skipped": None, "frames": [], "notes": [], "contents": None}
    try:
        part["frames"], part["notes"] = scene_infos(records, options)
        part["contents"] = scene_contents(part["frames"], options.root, options.version).to_dict()
    except MissingFileError as error:
        if not skip_incomplete:
            raise
        part["skipped"] = str(error.path)
    dump_pickle(folder / f"{records.scene['token']}.pkl", part)


def _merge(
    split: Split, tables: NuScenesTables, store: PartStore
) -> tuple[list[dict[str, Any]], Contents]:
    frames: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    notes: list[str] = []
    counted = []
    for scene in _scenes_of(split, tables):
        part = store.load(scene["token"])
        if part["skipped"] is not None:
            skipped[scene["name"]] = part["skipped"]
        else:
            counted.append(part["contents"])
        notes += part["notes"]
        for frame in part["frames"]:
            frames.append({"sample_idx": len(frames), **frame})
    if skipped:
        LOGGER.warning(
            "%s: left out %d scenes with missing files: %s",
            split.devkit_name,
            len(skipped),
            "; ".join(f"{name} ({path})" for name, path in skipped.items()),
        )
    for note in notes[:MAX_NOTES]:
        LOGGER.warning("%s", note)
    if len(notes) > MAX_NOTES:
        LOGGER.warning("... and %d notes more of this kind", len(notes) - MAX_NOTES)
    if not frames:
        raise _no_frames(split, tables, skipped)
    return frames, Contents.merged(counted, NUSCENES_CLASSES)


def _no_frames(split: Split, tables: NuScenesTables, skipped: dict[str, str]) -> DataError:
    if skipped:
        return DataError(
            f"Every scene of split {split.devkit_name!r} lacks files.",
            path=next(iter(skipped.values())),
            fix="put the files there, or correct --root: names in the tables are relative to it.",
        )
    return DataError(
        f"No scene of split {split.devkit_name!r} ({len(split.scenes)}) has a sample.",
        path=tables.folder / "sample.json",
        fix="give its scenes samples (their scene_token is that of scene.json), or leave the split "
        "out of splits.json.",
    )


def _metainfo(version: str, split: Split, tables: NuScenesTables) -> dict[str, Any]:
    names = tables.category_names()
    categories = {name: index for index, name in enumerate(NUSCENES_CLASSES)}
    categories.update({name: -1 for name in sorted(set(names) - NUSCENES_CLASS_OF.keys())})
    return {
        "categories": categories,
        "dataset": "nuscenes",
        "version": version,
        "info_version": INFO_VERSION,
        "split": split.devkit_name,
        "lidar": tables.lidar,
        "writer": "lidistill",
    }


def _report_left_out(tables: NuScenesTables, splits: Sequence[Split]) -> None:
    used = {scene for split in splits for scene in split.scenes}
    left = [scene["name"] for scene in tables.scenes if scene["name"] not in used]
    if left:
        LOGGER.warning("%d scenes of the tables are in no split: %s", len(left), ", ".join(left))
