# SPDX-License-Identifier: Apache-2.0
"""Object-complete frames as files, for code bases that do not compose at load time."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.info_paths import InfoPaths, frame_token, point_stem
from lidistill.converters.infos import InfoFile, load_infos, write_infos
from lidistill.converters.object_bank.bank import SceneBank
from lidistill.converters.object_bank.build import BankReader
from lidistill.converters.object_bank.compose import Composed, ComposeOptions, compose
from lidistill.converters.object_bank.tracks import inverses, upright_boxes
from lidistill.geometry.boxes import kitti_to_lidar_boxes
from lidistill.geometry.frames import invert
from lidistill.io import manifest_path
from lidistill.ops.boxes.object_points import points_by_box
from lidistill.progress import track

FOLDER = "LIDAR_COMPLETE"
TOOL = "lidistill object_bank export"


def export_frames(
    bank: BankReader,
    info_file: Path,
    data_root: Path,
    out: Path,
    options: ComposeOptions | None = None,
) -> Path:
    """Write every frame of an info file, complete where the bank knows it, and a new info file.

    Files that are there stay, so a killed run continues; with another bank or another window it is
    refused. A frame that the bank does not know is written as it is: a trainer needs no fall-back.

    Args:
        bank: of the frames' scenes.
        info_file: of ``lidistill create_data``.
        data_root: folder of the data set.
        out: gets ``LIDAR_COMPLETE/*.bin`` and the info file, whose ``num_lidar_pts`` are counted
            anew.
        options: what is put in.

    Returns:
        The new info file.

    Raises:
        DataError: the folder holds frames of another bank, of other settings or of other scans of
            these names, the new info file would take this one's place, or a frame cannot be read.
    """
    path = out / info_file.name
    if path.resolve() == info_file.resolve():
        raise io.DataError(
            "The new info file would take this one's place.",
            path=path,
            fix="give another --out folder.",
        )
    infos = load_infos(info_file, need=("lidar_points",))
    locate = InfoPaths(data_root, infos.metainfo)
    options = options or ComposeOptions()
    settings = {"window": options.window, "mirrored": options.mirrored, "bank": bank.parameters}
    _check_folder(out / FOLDER, {**settings, "scenes": bank.stamps()}, str(info_file))
    sources = [locate(info["lidar_points"]["lidar_path"], "pts") for info in infos.frames]
    targets = _target_names(sources, Path(data_root))
    dataset = str(infos.metainfo.get("dataset", "")).lower()
    frames, known = [], 0
    rows = zip(infos.frames, sources, targets, strict=True)
    for info, source, target in track(rows, "Export frames", total=len(sources)):
        frame, complete = _export_one(info, bank, source, out / target, options, dataset)
        frame["lidar_points"]["lidar_path"] = target
        frames.append(frame)
        known += complete
    _write(path, infos, frames, settings, known)
    return path


def _target_names(sources: Sequence[Path], root: Path) -> list[str]:
    """Where each cloud goes: by its own name, or by its path where several have one name."""
    names = [path.name for path in sources]
    if len(set(names)) == len(set(sources)):
        return [f"{FOLDER}/{name}" for name in names]
    return [f"{FOLDER}/{path.relative_to(root).as_posix()}" for path in sources]


def _check_folder(folder: Path, settings: Mapping[str, Any], source: str) -> None:
    """Frames that are there are kept, so they must be of the same bank and settings."""
    parameters = json.loads(json.dumps(settings))
    if manifest_path(folder).is_file() and folder.is_dir():
        old = io.read_manifest(folder)["parameters"]
        differ = [key for key in parameters if old.get(key) != parameters[key]]
        if not differ:
            return
        what = f"The frames here were written with another {' and '.join(differ)}."
    elif folder.is_dir() and any(folder.rglob("*.bin")):
        what = "There are frames in this folder, but no manifest: an older or another tool's."
    else:
        folder.mkdir(parents=True, exist_ok=True)
        io.write_manifest(folder, TOOL, parameters, 0, source)
        return
    raise io.DataError(what, path=folder, fix="give another --out folder, or delete this one.")


def bank_frame(bank: BankReader, info: Mapping[str, Any]) -> tuple[str, int] | None:
    """Scene and frame of a sample, by its token, its LiDAR frame's or its file's name."""
    lidar = str(info.get("lidar_points", {}).get("sample_data_token", ""))
    scene = str(info.get("scene_name") or info.get("raw_drive") or "")
    return bank.find(frame_token(info), lidar, point_stem(info), scene=scene)


def read_cloud(info: Mapping[str, Any], path: Path) -> NDArray[np.float32]:
    """A frame's cloud, in as many columns as its info names; points that are not finite left out.

    Raises:
        DataError: the file is no such cloud.
    """
    columns = int(info["lidar_points"].get("num_pts_feats", 4))
    return io.read_points(path, columns, frame_token(info), nonfinite="drop")


def complete_file(
    points: NDArray[np.float32],
    path: Path,
    bank: SceneBank,
    frame: int,
    options: ComposeOptions | None = None,
) -> Composed:
    """A file's cloud with its objects completed; a fifth column is the ring.

    Args:
        points: (N, C), see :func:`read_cloud`.
        path: where they were read.
        bank: of the scene.
        frame: index in the bank.
        options: what is put in.

    Raises:
        DataError: the cloud is not the one that the bank was made from.
    """
    try:
        return compose(points, bank, frame, options, 4 if points.shape[1] >= 5 else None)
    except io.DataError as error:
        raise error.read_from(path) from None


def _export_one(
    info: Mapping[str, Any],
    bank: BankReader,
    source: Path,
    target: Path,
    options: ComposeOptions,
    dataset: str,
) -> tuple[dict[str, Any], bool]:
    place = bank_frame(bank, info)
    points = read_cloud(info, source)
    if place is not None:
        points = complete_file(points, source, bank.scene(place[0]), place[1], options).cloud
    size = 4 * points.size
    if target.is_file() and target.stat().st_size != size:
        raise io.DataError(
            f"This frame was written before with {target.stat().st_size} bytes, now it has {size}: "
            "of another data set, or its scan was written anew.",
            path=target,
            token=frame_token(info),
            fix="give another --out folder, or delete this one.",
        )
    if not target.is_file():
        with io.atomic_write(target) as temporary:
            points.astype("<f4").tofile(temporary)
    changed = copy.deepcopy(dict(info))
    _count(changed, points, dataset)
    return changed, place is not None


def _count(info: dict[str, Any], points: NDArray[np.float32], dataset: str) -> None:
    """``num_lidar_pts`` of boxes counted anew; those without a size (DontCare) keep theirs."""
    sized = [i for i in info.get("instances", []) if min(i["bbox_3d"][3:6]) > 0]
    if not sized or dataset not in ("nuscenes", "kitti"):  # in which frame are another's boxes?
        return
    boxes = np.array([instance["bbox_3d"][:7] for instance in sized], dtype=np.float64)
    if dataset == "kitti":  # l, h, w at the bottom's centre, in the camera's frame
        camera_from_lidar = np.asarray(info["images"]["CAM2"]["lidar2cam"], dtype=np.float64)
        boxes = kitti_to_lidar_boxes(boxes[:, [4, 5, 3, 0, 1, 2, 6]], invert(camera_from_lidar))
    counts = points_by_box(points, inverses(upright_boxes(boxes)), boxes[:, 3:6] / 2).counts
    for instance, count in zip(sized, counts.tolist(), strict=True):
        instance["num_lidar_pts"] = count


def _write(
    path: Path,
    infos: InfoFile,
    frames: list[dict[str, Any]],
    settings: Mapping[str, Any],
    known: int,
) -> None:
    more = {"object_complete": {"frames": known, "of": len(frames)}}
    write_infos(path, {**infos.metainfo, **more}, frames, settings, infos.path.name)
