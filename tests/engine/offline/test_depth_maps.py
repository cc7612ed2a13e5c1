# SPDX-License-Identifier: Apache-2.0
"""``lidistill depth_maps`` on the tiny world and on real frames."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lidistill import cli
from lidistill.datasets.bev.depth_maps import read_depth
from lidistill.io import dump_pickle


def command(root, out, *words):
    info = root / "kitti_infos_val.pkl"
    return cli.main(["depth_maps", str(info), "--root", str(root), "--out", str(out), *words])


def test_maps_pictures_and_a_second_run(converted_world, tmp_path, capsys):
    root = converted_world / "kitti"
    assert command(root, tmp_path / "dense", "--pictures", "1") == 0
    assert command(root, tmp_path / "sparse", "--sparse") == 0
    names = sorted(path.name for path in (tmp_path / "dense").glob("*.png"))
    assert names == sorted(path.name for path in (tmp_path / "sparse").glob("*.png"))
    dense, sparse = (read_depth(tmp_path / form / names[0]) for form in ("dense", "sparse"))
    with Image.open(root / "training" / "image_2" / names[0].partition("_")[2]) as image:
        assert dense.shape == sparse.shape == (image.height, image.width)
    known = sparse > 0
    assert 0.005 < known.mean() < (dense > 0).mean()
    np.testing.assert_array_equal(dense[known], sparse[known])
    assert len(list((tmp_path / "dense" / "pictures").glob("*.jpg"))) == 1
    assert json.loads((tmp_path / "dense" / "manifest.json").read_text())["count"] == len(names)
    (tmp_path / "dense" / names[0]).unlink()
    capsys.readouterr()
    assert command(root, tmp_path / "dense") == 0
    assert "1 made now" in capsys.readouterr().out
    assert command(root, tmp_path / "dense", "--sparse") == 1
    assert "The maps here are dense of CAM2" in " ".join(capsys.readouterr().err.split())
    assert command(root, tmp_path / "dense") == 0
    assert " 0 made now" in capsys.readouterr().out


@pytest.fixture
def drive(tmp_path):
    """Two frames with a camera each in front and behind, and what runs the verb on them."""
    shape, clouds = (20, 30), np.random.default_rng(0)
    front = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    behind = front * [[-1], [1], [-1], [1]]
    (tmp_path / "samples" / "LIDAR_TOP").mkdir(parents=True)
    frames = []
    for number in range(2):
        cloud = clouds.uniform(-20, 20, (4000, 5)).astype(np.float32)
        cloud.tofile(tmp_path / "samples" / "LIDAR_TOP" / f"{number}.bin")
        images = {
            name: {"img_path": f"{number}.png", "height": shape[0], "width": shape[1],
                   "cam2img": [[20.0, 0, 15], [0, 20.0, 10], [0, 0, 1]], "lidar2cam": pose.tolist()}
            for name, pose in (("CAM_FRONT", front), ("CAM_BACK", behind))
        }  # fmt: skip
        points = {"lidar_path": f"{number}.bin", "num_pts_feats": 5}
        frames.append({"token": f"t{number}", "images": images, "lidar_points": points})
    metainfo = {"dataset": "nuscenes", "version": "v1.0-x", "info_version": "1.1"}
    infos = {"metainfo": metainfo, "data_list": frames}

    def run(*words):
        dump_pickle(tmp_path / "infos.pkl", infos)
        words = ["--root", str(tmp_path), "--out", str(tmp_path / "maps"), *words]
        return cli.main(["depth_maps", str(tmp_path / "infos.pkl"), *words])

    return run, frames, tmp_path


def test_maps_of_other_data_are_made_again(drive, capsys):
    """What decides a map is noted in it: scan, columns, calibration, size and form."""
    run, frames, folder = drive
    assert run("--cameras", "CAM_FRONT", "--sparse") == 0
    path = folder / "maps" / "t0.png"
    before = read_depth(path)
    assert run("--cameras", "CAM_BACK", "--sparse") == 1
    assert "sparse of CAM_FRONT, sparse of CAM_BACK ones" in " ".join(
        capsys.readouterr().err.split()
    )
    frames[0]["images"]["CAM_FRONT"]["cam2img"][0][2] = 12.0
    assert run("--cameras", "CAM_FRONT", "--sparse") == 0
    assert "2 maps in" in (words := capsys.readouterr().out)
    assert " 1 made now" in words
    moved = read_depth(path)
    np.testing.assert_array_equal(moved[:, :-3], before[:, 3:])  # three columns to the left
    scan = folder / "samples" / "LIDAR_TOP" / "1.bin"
    np.fromfile(scan, np.float32)[: 5 * 50].tofile(scan)
    assert run("--cameras", "CAM_FRONT", "--sparse") == 0
    assert " 1 made now" in capsys.readouterr().out
    assert (read_depth(folder / "maps" / "t1.png") > 0).sum() <= 50
    path.write_bytes(path.read_bytes()[:20])
    assert run("--cameras", "CAM_FRONT", "--sparse") == 0
    np.testing.assert_array_equal(read_depth(path), moved)


def test_a_frame_that_lacks_a_camera_keeps_the_others_folders(drive):
    run, frames, folder = drive
    del frames[1]["images"]["CAM_BACK"]["img_path"]
    assert run() == 0
    names = {path.relative_to(folder / "maps").as_posix() for path in folder.rglob("maps/**/*.png")}
    assert names == {"CAM_FRONT/t0.png", "CAM_BACK/t0.png", "CAM_FRONT/t1.png"}


def test_frames_of_one_name_have_maps_of_their_own(drive, capsys):
    """Without tokens frames go by their point file: by its whole name, and drives name alike."""
    run, frames, folder = drive
    clouds = folder / "samples" / "LIDAR_TOP"
    for number, frame in enumerate(frames):
        del frame["token"]
        frame["lidar_points"]["lidar_path"] = name = f"1532402927.{number}47951.bin"
        (clouds / f"{number}.bin").rename(clouds / name)
    assert run("--cameras", "CAM_FRONT") == 0
    assert "2 maps in" in capsys.readouterr().out
    assert len(list((folder / "maps").glob("*.png"))) == 2
    for number, frame in enumerate(frames):
        frame["lidar_points"]["lidar_path"] = f"drive{number}/0.bin"
        (folder / f"drive{number}").mkdir()
        (clouds / f"1532402927.{number}47951.bin").rename(folder / f"drive{number}" / "0.bin")
    assert run("--cameras", "CAM_FRONT") == 1
    assert "Two frames would have one depth map" in " ".join(capsys.readouterr().err.split())
