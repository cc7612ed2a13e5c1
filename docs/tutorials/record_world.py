# SPDX-License-Identifier: Apache-2.0
"""Lay the embedded world out as a vehicle would record it: python record_world.py WORLD OUT."""

import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from lidistill.geometry.frames import make_transform


def main(world, out, drives=None):
    """Copy the keyframes of the first ``drives`` scenes (None: all) into ``out``."""
    tables = next(world.glob("v1.0-*"))

    def table(name):
        return {row["token"]: row for row in json.loads((tables / f"{name}.json").read_text())}

    samples, sensors, mountings = table("sample"), table("sensor"), table("calibrated_sensor")
    poses, scenes = table("ego_pose"), table("scene")
    chosen = sorted(scenes, key=lambda token: scenes[token]["name"])[:drives]
    rigs = defaultdict(lambda: {"cameras": {}})
    rows = defaultdict(dict)
    for shot in table("sample_data").values():
        scene = samples[shot["sample_token"]]["scene_token"]
        if not shot["is_key_frame"] or scene not in chosen:
            continue
        drive = out / scenes[scene]["name"]
        mounting = mountings[shot["calibrated_sensor_token"]]
        channel = sensors[mounting["sensor_token"]]["channel"]
        vehicle_from_sensor = make_transform(mounting["rotation"], mounting["translation"]).tolist()
        if channel == "LIDAR_TOP":
            rigs[drive]["lidar"] = {"vehicle_from_lidar": vehicle_from_sensor, "columns": 5}
            target = drive / "lidar" / f"{shot['timestamp']}.bin"
        else:
            rigs[drive]["cameras"][channel] = {
                "vehicle_from_camera": vehicle_from_sensor,
                "intrinsics": mounting["camera_intrinsic"],
                "size": [shot["width"], shot["height"]],
            }
            target = drive / channel / f"{shot['timestamp']}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world / shot["filename"], target)
        pose = poses[shot["ego_pose_token"]]
        w, *xyz = pose["rotation"]
        rows[drive][shot["timestamp"]] = [*pose["translation"], *xyz, w]
    for drive, rig in rigs.items():
        (drive / "calibration.json").write_text(json.dumps(rig, indent=1))
        lines = [",".join(map(repr, [time, *row])) for time, row in sorted(rows[drive].items())]
        (drive / "poses.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
