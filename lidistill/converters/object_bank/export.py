# SPDX-License-Identifier: Apache-2.0
"""Object-complete frames as files, for code bases that do not compose at load time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.info_paths import InfoPaths, frame_token
from lidistill.converters.infos import InfoFile, load_infos, write_infos
from lidistill.converters.object_bank.build import BankReader
from lidistill.converters.object_bank.compose import ComposeOptions, compose
from lidistill.ops.boxes.object_points import points_by_box
from lidistill.progress import track

FOLDER = "LIDAR_COMPLETE"


def export_frames(
    bank: BankReader,
    info_file: Path,
    data_root: Path,
    out: Path,
    options: ComposeOptions | None = None,
) -> Path:
    """Write every frame of an info file, complete where the bank knows it, and a new info file.

    Files that are there stay, so a killed run continues. A frame that the bank does not know is
    written as it is: a trainer needs no fall-back.

    Args:
        bank: of the frames' scenes.
        info_file: of ``lidistill create_data``.
        data_root: folder of the data set.
        out: gets ``LIDAR_COMPLETE/*.bin`` and the info file, whose ``num_lidar_pts`` are counted
            anew.
        options: what is put in.

    Returns:
        The new info file.
    """
    infos = load_infos(info_file)
    locate = InfoPaths(data_root, infos.metainfo)
    options = options or ComposeOptions()
    frames, known = [], 0
    for info in track(infos.frames, "Export frames"):
        frame, complete = _export_one(info, bank, locate, out, options)
        frames.append(frame)
        known += complete
    path = out / info_file.name
    settings = {"window": options.window, "mirrored": options.mirrored, "bank": bank.parameters}
    _write(path, infos, frames, settings, known)
    return path


def bank_frame(bank: BankReader, info: Mapping[str, Any]) -> tuple[str, int] | None:
    """Scene and frame of a sample, by its token, its LiDAR frame's or its file's name."""
    points = info.get("lidar_points", {})
    stem = Path(str(points.get("lidar_path", ""))).name.split(".")[0]
    return bank.find(frame_token(info), str(points.get("sample_data_token", "")), stem)


def ring_column(columns: int) -> int | None:
    """Where five-column files have the ring."""
    return 4 if columns >= 5 else None


def _export_one(
    info: Mapping[str, Any],
    bank: BankReader,
    locate: InfoPaths,
    out: Path,
    options: ComposeOptions,
) -> tuple[dict[str, Any], bool]:
    record = info["lidar_points"]
    columns = int(record.get("num_pts_feats", 4))
    source = locate(record["lidar_path"], "pts")
    target = out / FOLDER / source.name
    place = bank_frame(bank, info)
    points = io.read_points(source, columns, frame_token(info), nonfinite="drop")
    if place is not None:
        scene, frame = place
        points = compose(points, bank.scene(scene), frame, options, ring_column(columns)).cloud
    if not target.is_file():
        with io.atomic_write(target) as temporary:
            points.astype("<f4").tofile(temporary)
    changed = copy.deepcopy(dict(info))
    changed["lidar_points"]["lidar_path"] = f"{FOLDER}/{source.name}"
    _count(changed, points)
    return changed, place is not None


def _count(info: dict[str, Any], points: NDArray[np.float32]) -> None:
    """``num_lidar_pts`` of boxes in the LiDAR frame (x, y, z, l, w, h, yaw), counted anew."""
    instances = info.get("instances", [])
    if not instances or "instance_token" not in instances[0]:
        return  # KITTI's boxes are in the camera frame
    from lidistill.converters.object_bank.tracks import inverses, upright_boxes

    boxes = np.array([instance["bbox_3d"] for instance in instances], dtype=np.float64)
    counts = points_by_box(points, inverses(upright_boxes(boxes)), boxes[:, 3:6] / 2).counts
    for instance, count in zip(instances, counts.tolist(), strict=True):
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
