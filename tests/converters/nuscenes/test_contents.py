# SPDX-License-Identifier: Apache-2.0
"""A scene's counts, and the look at whether its geometry can be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidistill.converters.nuscenes.contents import scene_contents

CAMERA = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])  # looks along x


@pytest.fixture
def frames(tmp_path: Path) -> list[dict[str, Any]]:
    """Two frames whose points lie in the boxes' places, ten metres in front of one camera."""
    rng = np.random.default_rng(0)
    result = []
    for number in range(2):
        centres = rng.uniform([10, -3, -1], [20, 3, 1], (6, 3))
        points = np.zeros((60, 5), "<f4")
        points[:, :3] = np.repeat(centres, 10, axis=0) + rng.uniform(-0.4, 0.4, (60, 3))
        points[:, 4] = np.arange(60) % 32
        folder = tmp_path / "samples/LIDAR_TOP"
        folder.mkdir(parents=True, exist_ok=True)
        points.tofile(folder / f"{number}.bin")
        instances = [
            {
                "bbox_3d": [*centre.tolist(), 1.0, 1.0, 1.0, 0.0],
                "bbox_label_3d": -1 if index else 0,
                "category": "animal" if index else "vehicle.car",
                "num_lidar_pts": 10,
            }
            for index, centre in enumerate(centres)
        ]
        image = {"cam2img": [[40.0, 0, 40], [0, 40, 30], [0, 0, 1]], "width": 80, "height": 60}
        result.append(
            {
                "token": f"t{number}",
                "lidar_points": {"lidar_path": f"{number}.bin", "num_pts_feats": 5},
                "images": {"CAM_FRONT": {**image, "lidar2cam": CAMERA.tolist()}},
                "instances": instances,
            }
        )
    return result


def _geometry(contents: Any) -> list[str]:
    return [text for text in contents.warnings() if not text.startswith("no box of class")]


def test_counts(frames: list[dict[str, Any]], tmp_path: Path) -> None:
    contents = scene_contents(frames, tmp_path, "v")
    assert (contents.frames, contents.clouds, contents.points) == (2, 1, 120)
    assert contents.boxes["vehicle.car"]["boxes"] == 2
    assert contents.boxes["animal"]["class"] is None
    assert contents.cameras["CAM_FRONT"] == {"in_front": 60, "inside": 60}
    assert contents.columns["ring"] == (0.0, 31.0)
    assert _geometry(contents) == []
    assert scene_contents([], tmp_path, "v").frames == 0


def test_boxes_beside_their_points_are_a_warning(
    frames: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The table says ten points in each; with x and y swapped there is none."""
    for frame in frames:
        for instance in frame["instances"]:
            x, y, *rest = instance["bbox_3d"]
            instance["bbox_3d"] = [y, x, *rest]
    (warning,) = _geometry(scene_contents(frames, tmp_path, "v"))
    assert "most of these hold no point" in warning


def test_a_camera_that_looks_elsewhere_is_a_warning(
    frames: list[dict[str, Any]], tmp_path: Path
) -> None:
    for frame in frames:
        frame["images"]["CAM_FRONT"]["cam2img"][0][2] = -4000.0
    (warning,) = _geometry(scene_contents(frames, tmp_path, "v"))
    assert "CAM_FRONT: only 0.0%" in warning
