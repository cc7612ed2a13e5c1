# SPDX-License-Identifier: Apache-2.0
"""Describe the recordings of your vehicle to lidistill: python own_vehicle.py FOLDER."""

import sys
from pathlib import Path

from lidistill.converters.infos import write_infos
from lidistill.converters.rig import check_files, pose_at, read_poses, read_rig
from lidistill.geometry.frames import compose, invert

MAX_GAP = 60_000  # microseconds between a sweep and an image that still belong together


def describe(drive, sweep, rig, poses, shots):
    """One entry of the info file: a sweep and, of each camera, the image nearest in time."""
    views, time = {}, int(sweep.stem)
    world_from_lidar = compose(pose_at(time, poses), rig["lidar"]["vehicle_from_lidar"])
    for name, camera in rig["cameras"].items():
        shot = min(shots[name], key=lambda shot: abs(int(shot.stem) - time))
        if abs(int(shot.stem) - time) <= MAX_GAP:
            world_from_camera = compose(
                pose_at(int(shot.stem), poses), camera["vehicle_from_camera"]
            )
            views[name] = {
                "img_path": f"{drive}/{name}/{shot.name}",
                "sample_data_token": f"{drive}_{name}_{shot.stem}",  # names its superpixels
                "cam2img": camera["intrinsics"],
                "lidar2cam": compose(invert(world_from_camera), world_from_lidar).tolist(),
                **dict(zip(("width", "height"), camera["size"], strict=True)),
            }
    points = {"lidar_path": f"{drive}/lidar/{sweep.name}", "num_pts_feats": rig["lidar"]["columns"]}
    return {"token": f"{drive}_{time}", "lidar_points": points, "images": views}


def main(root):
    frames = []
    for drive in sorted(path.parent for path in root.glob("*/calibration.json")):
        rig, poses = read_rig(drive / "calibration.json"), read_poses(drive / "poses.csv")
        shots = {name: sorted((drive / name).glob("[0-9]*.*")) for name in rig["cameras"]}
        sweeps = sorted((drive / "lidar").glob("[0-9]*.bin"))
        if not sweeps or not all(shots.values()):
            sys.exit(f"{drive}: expected lidar/TIME.bin and pictures of {', '.join(shots)}")
        check_files(rig, sweeps[0], {name: files[0] for name, files in shots.items()})
        frames += [describe(drive.name, sweep, rig, poses, shots) for sweep in sweeps]
    frames = [frame for frame in frames if frame["images"]]
    if not frames:
        sys.exit(f"{root}: expected */calibration.json, and pictures near its sweeps in time")
    about = {"dataset": "own vehicle", "info_version": "1.1"}
    write_infos(root / "lidistill_infos_train.pkl", about, frames, {"max_gap": MAX_GAP}, "")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if sys.argv[1:] else sys.exit(__doc__))
    except ValueError as error:  # names the file, and what to do
        sys.exit(f"error: {error}")
