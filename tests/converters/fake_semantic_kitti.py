# SPDX-License-Identifier: Apache-2.0
"""A few random scans in SemanticKITTI's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lidistill.converters.semantic_kitti.labels import STORED_LABELS

TURN = np.array([[0, -1, 0, 0.02], [0, 0, -1, -0.07], [1, 0, 0, -0.3]])  # camera 0 from LiDAR
SPLITS = '{"train": ["00", "02"], "val": ["08"], "test": ["11"]}'


def write_fake_semantic_kitti(root: Path, scans: int = 3, seed: int = 0, inside: str = "") -> Path:
    """Writes four sequences and ``splits.json``; returns the root. Sequence 02 has no poses."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    (root / "splits.json").write_text(SPLITS)
    for name in ("00", "02", "08", "11"):
        folder = root / inside / "sequences" / name
        (folder / "velodyne").mkdir(parents=True)
        if name != "11":
            (folder / "labels").mkdir()
        for scan in range(scans):
            count = int(rng.integers(200, 300))
            points = rng.normal(size=(count, 4)).astype("<f4") * [8, 8, 1, 0] + [0, 0, 0, 0.5]
            points.astype("<f4").tofile(folder / "velodyne" / f"{scan:06d}.bin")
            if name != "11":
                stored = rng.choice(list(STORED_LABELS), count).astype("<u4")
                instances = rng.integers(0, 900, count).astype("<u4") << 16
                (stored | instances).tofile(folder / "labels" / f"{scan:06d}.label")
        if name != "02":
            (folder / "calib.txt").write_text(f"P0: {_row(np.eye(3, 4))}\nTr: {_row(TURN)}\n")
            poses = [
                _row(np.hstack([np.eye(3), [[0.1 * i], [0], [1.0 * i]]])) for i in range(scans)
            ]
            (folder / "poses.txt").write_text("\n".join(poses) + "\n")
    return root


def _row(matrix: np.ndarray) -> str:
    return " ".join(f"{value:.9e}" for value in matrix.ravel())
