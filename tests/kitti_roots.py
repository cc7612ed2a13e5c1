# SPDX-License-Identifier: Apache-2.0
"""Small roots in KITTI's raw layout and in SemanticKITTI's, from the embedded world's frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lidistill.converters.kitti.files import read_calibration

DAY = "2011_09_26"


def raw_root(world_kitti: Path, out: Path) -> Path:
    """The world's raw drives, with the day's calibration that it does not write."""
    source = world_kitti / "raw" / DAY
    day = out / DAY
    day.mkdir(parents=True)
    for drive in sorted(source.iterdir()):
        (day / drive.name).symlink_to(drive)
    found = read_calibration(sorted((world_kitti / "training/calib").glob("*.txt"))[0], "")
    turn = found.camera_from_lidar
    cameras = {"P_rect_02": found.projections[2][:3], "R_rect_00": found.rectification[:3, :3]}
    (day / "calib_cam_to_cam.txt").write_text("calib_time: 09-Jan-2012 13:57:47\n" + _text(cameras))
    (day / "calib_velo_to_cam.txt").write_text(_text({"R": turn[:3, :3], "T": turn[:3, 3]}))
    return out


def semantic_root(
    world_kitti: Path, out: Path, sequences: tuple[str, ...] = ("00", "08"), scans: int = 2
) -> Path:
    """Sequences of the world's frames, with made-up labels: road below, buildings above."""
    names = sorted(path.stem for path in (world_kitti / "training/velodyne").glob("*.bin"))
    for number, sequence in enumerate(sequences):
        folder = out / "sequences" / sequence
        for part in ("velodyne", "image_2", "labels"):
            (folder / part).mkdir(parents=True)
        chosen = names[number * scans : (number + 1) * scans]
        for scan, name in enumerate(chosen):
            cloud = world_kitti / "training/velodyne" / f"{name}.bin"
            (folder / f"velodyne/{scan:06d}.bin").symlink_to(cloud.resolve())
            image = world_kitti / "training/image_2" / f"{name}.png"
            (folder / f"image_2/{scan:06d}.png").symlink_to(image.resolve())
            height = np.fromfile(cloud, dtype="<f4").reshape(-1, 4)[:, 2]
            labels = np.where(height < -1.2, 40, np.where(height < 0, 10, 50)).astype("<u4")
            labels.tofile(folder / f"labels/{scan:06d}.label")
        found = read_calibration(world_kitti / "training/calib" / f"{chosen[0]}.txt", "")
        entries = {"P2": found.projections[2][:3], "Tr": found.rectified_from_lidar[:3]}
        (folder / "calib.txt").write_text(_text(entries))
    (out / "splits.json").write_text(
        f'{{"train": {list(sequences[:-1])!s}, "val": ["{sequences[-1]}"]}}'.replace("'", '"')
    )
    return out


def _text(entries: dict[str, np.ndarray]) -> str:
    lines = [f"{k}: {' '.join(f'{v:.12e}' for v in np.ravel(m))}" for k, m in entries.items()]
    return "\n".join(lines) + "\n"
