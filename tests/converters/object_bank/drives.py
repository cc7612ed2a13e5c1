# SPDX-License-Identifier: Apache-2.0
"""A made scene as KITTI's files: scans, the tracking benchmark, a raw drive; as plain arrays."""

import numpy as np

from lidistill.converters.kitti.files import read_calibration
from lidistill.geometry.boxes import lidar_to_kitti_boxes
from lidistill.geometry.frames import invert

TRACKLET = """<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>
<!DOCTYPE boost_serialization>
<boost_serialization><tracklets><count>{count}</count>{items}</tracklets></boost_serialization>
"""
CALIBRATION = """P2: 700 0 600 0 0 700 180 0 0 0 1 0
R_rect 1 0 0 0 1 0 0 0 1
Tr_velo_cam 0 -1 0 0.1 0 0 -1 -0.2 1 0 0 -0.3
Tr_imu_velo 1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8
"""
DONT_CARE = "0 -1 DontCare -1 -1 -10 0 0 9 9 -1000 -1000 -1000 -10 -1 -1 -1"


def sensor_boxes(tracks):
    """Boxes in the sensor's frame by instance: upright scenes only."""
    found = {}
    for row in range(len(tracks.box_frame)):
        frame = tracks.frames[tracks.box_frame[row]]
        pose = invert(frame.world_from_sensor) @ tracks.world_from_box[row]
        yaw = np.arctan2(pose[1, 0], pose[0, 0])
        token = tracks.tokens[tracks.box_instance[row]]
        found.setdefault(token, []).append([*pose[:3, 3], *tracks.sizes[row], yaw])
    return {token: np.array(rows) for token, rows in found.items()}


def write_tracklets(path, boxes):
    """One track a name: boxes (T, 7) with centre origin from frame 0 on."""
    items = ""
    for name, rows in boxes.items():
        poses = "".join(
            f"<item><tx>{b[0]!r}</tx><ty>{b[1]!r}</ty><tz>{b[2] - b[5] / 2!r}</tz>"
            f"<rx>0</rx><ry>0</ry><rz>{b[6]!r}</rz></item>"
            for b in rows.tolist()
        )
        length, width, height = rows[0, 3:6]
        items += (
            f"<item><objectType>{name}</objectType><h>{height}</h><w>{width}</w><l>{length}</l>"
            f"<first_frame>0</first_frame><poses><count>{len(rows)}</count>{poses}</poses></item>\n"
        )
    path.write_text(TRACKLET.format(count=len(boxes), items=items))


def write_scans(folder, tracks, name="{:06d}.bin"):
    """Scans with four columns, reflectance from 0 to 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(tracks.frames):
        points = frame.read()
        points[:, 3] /= 255.0
        points[:, :4].tofile(folder / name.format(number))


def write_poses(path, tracks):
    """Twelve numbers a line."""
    rows = [frame.world_from_sensor[:3].ravel().tolist() for frame in tracks.frames]
    path.write_text("".join(" ".join(map(repr, row)) + "\n" for row in rows))


def packet(number):
    """A line of GPS/IMU numbers: a vehicle that drives north and turns."""
    rest = " ".join(["0"] * 24)
    return f"{49.0 + 1e-5 * number!r} 8.4 112.5 0.01 -0.02 {0.05 * number!r} {rest}\n"


def write_tracking(root, tracks, sequence="0003"):
    """``training/{calib,label_02,velodyne,oxts}`` of one sequence."""
    base = root / "training"
    for name in ("calib", "label_02", "oxts"):
        (base / name).mkdir(parents=True, exist_ok=True)
    write_scans(base / "velodyne" / sequence, tracks)
    calibration = base / "calib" / f"{sequence}.txt"
    calibration.write_text(CALIBRATION)
    camera = read_calibration(calibration, sequence).rectified_from_lidar
    lines = [DONT_CARE]
    for track, (name, boxes) in enumerate(sensor_boxes(tracks).items()):
        for frame, label in enumerate(lidar_to_kitti_boxes(boxes, camera).tolist()):
            lines.append(f"{frame} {track} {name} 0 0 0 0 0 9 9 {' '.join(map(repr, label))}")
    (base / "label_02" / f"{sequence}.txt").write_text("\n".join(lines) + "\n")
    packets = "".join(packet(number) for number in range(len(tracks.frames)))
    (base / "oxts" / f"{sequence}.txt").write_text(packets)


def write_raw(day, tracks, drive="2011_09_26_drive_0003_sync"):
    """A raw drive below a day, with the day's calibration of the IMU."""
    folder = day / drive
    write_scans(folder / "velodyne_points" / "data", tracks, "{:010d}.bin")
    (folder / "oxts" / "data").mkdir(parents=True)
    for number in range(len(tracks.frames)):
        (folder / "oxts" / "data" / f"{number:010d}.txt").write_text(packet(number))
    write_tracklets(folder / "tracklet_labels.xml", sensor_boxes(tracks))
    (day / "calib_imu_to_velo.txt").write_text(
        "calib_time: 25-May-2012 16:47:16\nR: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.8\n"
    )
    return folder


def box_arrays(tracks):
    """Content of ``boxes.npz`` without poses."""
    boxes = sensor_boxes(tracks)
    frames = len(tracks.frames)
    return {
        "frame": np.tile(np.arange(frames), len(boxes)),
        "instance": np.repeat(list(boxes), frames),
        "name": np.repeat(list(boxes), frames),
        "box": np.concatenate(list(boxes.values())),
    }


def write_arrays(scene, tracks):
    """A scene of plain arrays, with poses."""
    write_scans(scene / "points", tracks, "{}.bin")
    poses = [frame.world_from_sensor for frame in tracks.frames]
    np.savez(scene / "boxes.npz", **box_arrays(tracks), world_from_sensor=poses)
