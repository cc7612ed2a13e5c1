# SPDX-License-Identifier: Apache-2.0
"""A few random frames in the layout of KITTI's object benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (310, 94)  # width, height
P2 = np.array([[180.0, 0, 152, 11.4], [0, 180.0, 45, -0.08], [0, 0, 1, 0.005]])
TURN = np.array([[0, -1, 0, 0.02], [0, 0, -1, -0.07], [1, 0, 0, -0.3]])  # camera from LiDAR axes
CLASSES = ("Car", "Pedestrian", "Cyclist", "Van", "Misc")


def calibration_text(rng: np.random.Generator) -> str:
    """Calibration with a small rectification."""
    a, b = rng.normal(size=2) * 0.01
    rectification = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rectification = rectification @ np.array(
        [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    )
    entries = {f"P{i}": P2 - [[0, 0, 0, 5.0 * i], [0] * 4, [0] * 4] for i in (0, 1, 3)}
    entries |= {"P2": P2, "R0_rect": rectification, "Tr_velo_to_cam": TURN}
    entries["Tr_imu_to_velo"] = np.eye(3, 4)
    order = ("P0", "P1", "P2", "P3", "R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo")
    lines = [f"{k}: " + " ".join(f"{v:.12e}" for v in entries[k].ravel()) for k in order]
    return "\n".join(lines) + "\n\n"  # KITTI's files end in an empty line


def label_text(rng: np.random.Generator, count: int = 5) -> str:
    """Labels; the last line is a DontCare."""
    lines = []
    for i in range(count):
        height, width, length = rng.uniform([1.4, 0.6, 0.8], [2.0, 1.9, 4.5])
        x, y, z = rng.uniform([-6, 1.0, 6], [6, 2.0, 40])
        turn = rng.uniform(-np.pi, np.pi)
        x1, y1 = rng.uniform([0, 0], [250, 50])
        fields = [rng.choice([0, 0.1, 0.2, 0.4]), rng.integers(0, 4), turn - np.arctan2(x, z)]
        fields += [x1, y1, x1 + 40, y1 + rng.choice([20, 30, 43.0]), height, width, length]
        fields += [x, y, z, turn]
        lines.append(" ".join([CLASSES[i % 5], *(f"{value:.2f}" for value in fields)]))
        lines[-1] = lines[-1].replace(f" {fields[1]:.2f} ", f" {fields[1]} ", 1)
    lines.append("DontCare -1 -1 -10 5.00 6.00 20.00 30.00 -1 -1 -1 -1000 -1000 -1000 -10")
    return "\n".join(lines) + "\n"


def write_fake_kitti(
    root: Path, training: int = 6, testing: int = 2, lists: bool = True, seed: int = 0
) -> Path:
    """Writes the frames; returns the root."""
    rng = np.random.default_rng(seed)
    for part, count in (("training", training), ("testing", testing)):
        folders = ["image_2", "calib", "velodyne", "planes"]
        folders += ["label_2"] if part == "training" else []
        for folder in folders:
            (root / part / folder).mkdir(parents=True)
        for frame in range(count):
            name = f"{frame:06d}"
            size = (SIZE[0] + frame, SIZE[1])
            image = Image.new("RGB", size)
            image.save(root / part / "image_2" / f"{name}.png")
            (root / part / "calib" / f"{name}.txt").write_text(calibration_text(rng))
            points = rng.uniform([-20, -10, -2, 0], [60, 10, 1, 1], size=(30_000, 4))
            points.astype("<f4").tofile(root / part / "velodyne" / f"{name}.bin")
            plane = "# Plane\nWidth 4\nHeight 1\n-1e-2 -1.0 2e-2 1.65\n"
            (root / part / "planes" / f"{name}.txt").write_text(plane)
            if part == "training":
                text = label_text(rng) if frame != 3 else ""  # a frame without any label
                (root / part / "label_2" / f"{name}.txt").write_text(text)
    if lists:
        folder = root / "ImageSets"
        folder.mkdir()
        numbers = {"train": range(0, training, 2), "val": range(1, training, 2)}
        numbers |= {"test": range(testing)}
        for split, frames in numbers.items():
            (folder / f"{split}.txt").write_text("".join(f"{n:06d}\n" for n in frames))
    return root
