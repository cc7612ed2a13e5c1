# SPDX-License-Identifier: Apache-2.0
"""Pictures of pairs: what is drawn, which frames, and that the frame stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidistill.cli import main
from lidistill.datasets.loading import LoadImages, LoadPoints
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.visualization.cameras.pairs_cli import WIDE, chosen_rows, frame_picture


@pytest.fixture
def kitti(converted_world: Path) -> ImageLidarPairs:
    root = converted_world / "kitti"
    return ImageLidarPairs(ann_file=root / "kitti_infos_train.pkl", data_root=root, pipeline=[])


def test_the_verb(converted_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = converted_world / "kitti"
    words = ["pairs", str(root / "kitti_infos_train.pkl"), "--data-root", str(root)]
    assert main([*words, "--out", str(tmp_path), "--frames", "2"]) == 0
    assert len(list(tmp_path.glob("*.jpg"))) == 2
    assert "points are paired" in capsys.readouterr().out


def test_a_turned_calibration_is_drawn_and_forgotten(kitti: ImageLidarPairs) -> None:
    frame = LoadImages()(LoadPoints()(kitti[0]))
    before = frame.cameras[0].camera_from_lidar.copy()
    picture = frame_picture(frame, turn=5.0)
    height = frame.cameras[0].height * max(1, round(WIDE / frame.cameras[0].width))
    assert picture.shape[0] == 2 * height + 4
    np.testing.assert_array_equal(frame.cameras[0].camera_from_lidar, before)
    right, wrong = picture[:height], picture[height + 4 :]
    assert float(np.abs(right.astype(int) - wrong.astype(int)).mean()) > 1
    assert frame_picture(frame, turn=0.0).shape[0] == height
    uv = frame.pairs.pixel_uv
    assert ((uv >= 0) & (uv < [frame.cameras[0].width, frame.cameras[0].height])).all()


def test_frames_by_scene_and_by_name(kitti: ImageLidarPairs) -> None:
    rows = chosen_rows(kitti, 3)
    assert len(rows) == len(set(rows)) == min(3, len(kitti))
    token = kitti.get_data_info(1)["token"]
    assert chosen_rows(kitti, 3, [token]) == [1]
    with pytest.raises(ValueError, match="no frame nothing"):
        chosen_rows(kitti, 3, ["nothing"])
    with pytest.raises(ValueError, match="--frames of 1 or more"):
        chosen_rows(kitti, 0)
