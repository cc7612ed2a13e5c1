# SPDX-License-Identifier: Apache-2.0
"""Describe the recordings of your vehicle to lidistill: python own_vehicle.py FOLDER."""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from lidistill.converters.infos import write_infos
from lidistill.geometry.frames import compose, invert, make_transform

MAX_GAP = 60_000  # microseconds between a sweep and an image that still belong together


def pose_at(time, poses):
    """world_from_vehicle (4, 4) between two rows (time, x, y, z, qx, qy, qz, qw)."""
    after = np.clip(np.searchsorted(poses[:, 0], time), 1, len(poses) - 1)
    two = poses[after - 1 : after + 1]
    turn = Slerp(two[:, 0], Rotation.from_quat(two[:, 4:]))(time)
    place = [np.interp(time, two[:, 0], column) for column in two[:, 1:4].T]
    return make_transform(turn.as_matrix(), place)


def describe(drive, time, rig, poses, shots):
    """One entry of the info file: a sweep and, of each camera, the image nearest in time."""
    views, lidar = {}, rig["lidar"]
    world_from_lidar = compose(pose_at(time, poses), lidar["vehicle_from_lidar"])
    for name, camera in rig["cameras"].items():
        shot = min(shots[name], key=lambda shot: abs(shot - time))
        if abs(shot - time) <= MAX_GAP:
            world_from_camera = compose(pose_at(shot, poses), camera["vehicle_from_camera"])
            views[name] = {
                "img_path": f"{drive}/{name}/{shot}.jpg",
                "sample_data_token": f"{drive}_{name}_{shot}",  # names its superpixels
                "cam2img": camera["intrinsics"],
                "lidar2cam": compose(invert(world_from_camera), world_from_lidar).tolist(),
                **dict(zip(("width", "height"), camera["size"], strict=True)),
            }
    points = {"lidar_path": f"{drive}/lidar/{time}.bin", "num_pts_feats": lidar["columns"]}
    return {"token": f"{drive}_{time}", "lidar_points": points, "images": views}


def main(root):
    frames = []
    for drive in sorted(path.parent for path in root.glob("*/calibration.json")):
        rig = json.loads((drive / "calibration.json").read_text())
        poses = np.loadtxt(drive / "poses.csv", delimiter=",")
        shots = {name: [int(p.stem) for p in (drive / name).iterdir()] for name in rig["cameras"]}
        for sweep in sorted((drive / "lidar").iterdir()):
            frames.append(describe(drive.name, int(sweep.stem), rig, poses, shots))
    frames = [frame for frame in frames if frame["images"]]
    metainfo = {"dataset": "own vehicle", "info_version": "1.1"}
    write_infos(root / "lidistill_infos_train.pkl", metainfo, frames, {"max_gap": MAX_GAP}, "")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
