# SPDX-License-Identifier: Apache-2.0
"""A scene over time as a recording for rerun: points, cameras, boxes, completed objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lidistill import io
from lidistill.converters.info_paths import InfoPaths, camera_names, frame_token
from lidistill.converters.infos import load_infos
from lidistill.converters.object_bank.bank import SceneBank
from lidistill.converters.object_bank.build import BankReader
from lidistill.converters.object_bank.export import bank_frame, complete_file, read_cloud
from lidistill.converters.object_bank.tracks import upright_boxes
from lidistill.geometry.frames import invert
from lidistill.geometry.projection import split_projection
from lidistill.progress import track
from lidistill.visualization.colours import region_colours, scalar_colours

INSTALL = "pip install 'lidistill[view]' (or: pip install rerun-sdk 'pyarrow<26')"
DARK = [24, 27, 33]  # behind points that are coloured
DOT = -1.5  # negative: in pixels, however far away


def record_scene(
    info_file: Path,
    data_root: Path,
    out: Path,
    scene: str | None = None,
    bank: BankReader | None = None,
    colours: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Path:
    """Write a recording that ``rerun FILE`` plays.

    Args:
        info_file: of ``lidistill create_data``.
        data_root: folder of the data set.
        out: the ``.rrd`` file.
        scene: name; None takes the first. Where the info file names none (KITTI) the bank does;
            without either all frames are one scene.
        bank: to show completed objects beside the scan.
        colours: frame token -> (N, 3) uint8 of its points, for features or predictions; height
            where a frame has none.

    Raises:
        ImportError: rerun is not installed.
        DataError: there is no such scene.
    """
    rerun = _rerun()
    infos = load_infos(info_file, need=("lidar_points",))
    frames = _frames(infos.frames, scene, info_file, bank)
    locate = InfoPaths(data_root, infos.metainfo)
    name, first = _scene_of(frames[0], bank) or info_file.stem, _seconds_of(frames[0], bank)
    recording = rerun.RecordingStream("lidistill", recording_id=f"lidistill-{name}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with io.atomic_write(out, sync=False) as temporary:
        recording.save(str(temporary))
        recording.send_blueprint(_layout(rerun, camera_names(frames[0])))
        recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        shown: set[str] = set()
        for index, info in track(enumerate(frames), "Record", total=len(frames)):
            seconds = _seconds_of(info, bank)
            passed = 0.1 * index if seconds is None or first is None else seconds - first
            recording.set_time("seconds", duration=passed)
            given = (colours or {}).get(frame_token(info))
            logged = _log_frame(rerun, recording, info, locate, bank, given)
            for path in sorted(shown - logged):  # rerun shows what was logged last, however old
                recording.log(path, rerun.Clear(recursive=False))
            shown = logged
        recording.flush()
        recording.disconnect()
    return out


def _rerun() -> Any:
    try:
        import rerun
    except ImportError as error:
        there = getattr(error, "name", None) != "rerun"
        why = f"does not import ({error})" if there else "is not installed"
        raise ImportError(f"recordings need rerun, which {why}: {INSTALL}") from error
    return rerun


def _layout(rerun: Any, cameras: Sequence[str]) -> Any:
    """The scene in space, its cameras beside it, and the time below; a user may drag them."""
    views = rerun.blueprint
    space = views.Spatial3DView(origin="world", name="LiDAR", background=DARK)
    images = [views.Spatial2DView(origin=f"world/{name}", name=name) for name in cameras]
    if len(images) == 1:  # wide, as KITTI's
        shown = views.Vertical(space, *images, row_shares=[3, 1])
    else:
        grid = views.Grid(*images, grid_columns=1 if len(images) <= 3 else 2)
        shown = views.Horizontal(space, grid, column_shares=[3, 2])
    return views.Blueprint(
        shown if images else space,
        views.BlueprintPanel(state="collapsed"),
        views.SelectionPanel(state="collapsed"),
        views.TimePanel(state="collapsed"),
    )


def _frames(
    frames: list[dict[str, Any]], scene: str | None, path: Path, bank: BankReader | None
) -> list[dict[str, Any]]:
    """Those of one scene in the order of time."""
    scenes = [_scene_of(info, bank) for info in frames]
    names = list(dict.fromkeys(scenes))
    wanted = names[0] if scene is None else scene
    if wanted not in names:
        raise io.DataError(
            f"No scene {wanted!r} there.",
            path=path,
            fix=f"name one of {', '.join(names[:8])} with --scene.",
        )
    found = [info for info, name in zip(frames, scenes, strict=True) if name == wanted]
    return sorted(found, key=lambda info: _seconds_of(info, bank) or 0.0)


def _scene_of(info: dict[str, Any], bank: BankReader | None) -> str:
    """Name of a frame's scene: the info file's, else the bank's; empty where neither knows."""
    place = None if bank is None or info.get("scene_name") else bank_frame(bank, info)
    return str(info.get("scene_name") or (place[0] if place else ""))


def _seconds_of(info: dict[str, Any], bank: BankReader | None) -> float | None:
    """Time of a frame: the info file's, else the bank's; None where neither knows."""
    if info.get("timestamp") is not None:
        return float(info["timestamp"])
    place = None if bank is None else bank_frame(bank, info)
    if bank is None or place is None:
        return None
    return float(bank.scene(place[0]).frame_seconds[place[1]])


def _log_frame(
    rerun: Any,
    recording: Any,
    info: dict[str, Any],
    locate: InfoPaths,
    bank: BankReader | None,
    colours: NDArray[np.uint8] | None,
) -> set[str]:
    """Log a frame; the paths of what it has."""
    path = locate(info["lidar_points"]["lidar_path"], "pts")
    points = read_cloud(info, path)
    height = scalar_colours(points[:, 2], low=-2.5, high=3.0) if colours is None else colours
    recording.log("world/points", rerun.Points3D(points[:, :3], colors=height, radii=DOT))
    place = None if bank is None else bank_frame(bank, info)
    known = None if bank is None or place is None else bank.scene(place[0])
    frame, logged = 0 if place is None else place[1], {"world/points"}
    if known is not None:
        logged.add("world/complete")
        composed = complete_file(points, path, known, frame)
        recording.log(
            "world/complete",
            rerun.Points3D(
                composed.pasted[:, :3], colors=region_colours(composed.instance), radii=DOT
            ),
        )
    if _log_boxes(rerun, recording, info, known, frame):
        logged.add("world/boxes")
    for name in camera_names(info):
        image = info["images"][name]
        if image.get("lidar2cam") is not None and image.get("cam2img") is not None:
            logged.add(f"world/{name}")
            _log_camera(rerun, recording, f"world/{name}", image, locate(image["img_path"], name))
    return logged


def _log_boxes(
    rerun: Any, recording: Any, info: dict[str, Any], bank: SceneBank | None, frame: int
) -> bool:
    """The bank's boxes, with all their rotations; without a bank those of the info file.

    KITTI's info files have boxes in the camera's frame: without a bank they are left out.

    Returns:
        Whether there were any.
    """
    if bank is not None:
        rows = bank.boxes_of(frame)
        poses, sizes = bank.sensor_from_box[rows], bank.box_sizes[rows]
        names = bank.names[bank.box_instance[rows]].tolist()
    else:
        boxes = [box for box in info.get("instances", []) if "instance_token" in box]
        array = np.array([box["bbox_3d"] for box in boxes], dtype=np.float64).reshape(-1, 7)
        poses, sizes = upright_boxes(array), array[:, 3:6]
        names = [str(box.get("category", "")) for box in boxes]
    if len(poses) == 0:
        return False
    recording.log(
        "world/boxes",
        rerun.Boxes3D(
            centers=poses[:, :3, 3],
            half_sizes=sizes / 2,
            quaternions=Rotation.from_matrix(poses[:, :3, :3]).as_quat(),
            labels=names,
        ),
    )
    return True


def _log_camera(rerun: Any, recording: Any, name: str, image: dict[str, Any], path: Path) -> None:
    matrix = np.eye(4)
    given = np.array(image["lidar2cam"], dtype=np.float64)
    matrix[: len(given), :4] = given
    intrinsics, shift = split_projection(np.array(image["cam2img"], dtype=np.float64))
    lidar_from_camera = invert(shift @ matrix)
    recording.log(
        name,
        rerun.Transform3D(translation=lidar_from_camera[:3, 3], mat3x3=lidar_from_camera[:3, :3]),
    )
    size = [int(image["width"]), int(image["height"])]
    recording.log(name, rerun.Pinhole(image_from_camera=intrinsics, resolution=size))
    recording.log(name, rerun.EncodedImage(path=str(path)))
