# SPDX-License-Identifier: Apache-2.0
"""Earlier keyframes of a sample; one camera of KITTI through the same steps."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.converters.infos import load_infos
from lidistill.datasets.bev.cameras import CAMERAS, AugmentImages, LoadCameras
from lidistill.datasets.bev.depths import DepthTargets
from lidistill.datasets.bev.frames import nuscenes_frames
from lidistill.datasets.bev.pack import PackBEV
from lidistill.datasets.point_files import LoadCheckedPoints
from lidistill.geometry.cameras import Cameras
from lidistill.geometry.frames import compose

compat.apply()


@pytest.fixture(scope="module")
def root(converted_world):
    return converted_world / "nuscenes"


def frames(root, history, pipeline=()):
    prefixes = {name: f"samples/{name}" for name in CAMERAS}
    return nuscenes_frames(
        history=history,
        data_root=str(root),
        ann_file="lidistill_infos_train.pkl",
        data_prefix={"pts": "samples/LIDAR_TOP", "sweeps": "sweeps/LIDAR_TOP", **prefixes},
        modality={"use_lidar": True, "use_camera": True},
        pipeline=list(pipeline),
        test_mode=True,
    )


def pose(info):
    return compose(np.array(info["ego2global"]), np.array(info["lidar_points"]["lidar2ego"]))


def test_earlier_moments_and_how_the_vehicle_moved(root):
    infos = load_infos(root / "lidistill_infos_train.pkl", "nuscenes").frames
    data = frames(root, 2)
    scenes = [info["scene_name"] for info in infos]
    for row, info in enumerate(infos):
        moments = data.get_data_info(row)["history"]
        assert len(moments) == 2
        before = [k for k in (row - 1, row - 2) if k >= 0 and scenes[k] == scenes[row]]
        before += [before[-1] if before else row] * (2 - len(before))
        for moment, k in zip(moments, before, strict=True):
            name = infos[k]["images"]["CAM_BACK"]["img_path"].rsplit("/")[-1]
            assert moment["images"]["CAM_BACK"]["img_path"].endswith(name)
            # a place in the world, seen from both
            place = np.array([3.0, -2.0, 0.5, 1.0])
            there = pose(infos[k]) @ moment["from_present"] @ place
            np.testing.assert_allclose(there, pose(info) @ place, atol=1e-6)
    second = data.get_data_info(1)
    moved = np.linalg.norm(second["history"][0]["from_present"][:3, 3])
    assert 1.0 < moved < 10.0  # half a second at 5 to 9 m/s


def test_a_gap_in_time_ends_a_scene_without_a_name(root):
    """As in mmdet3d's own info files."""
    data = frames(root, 1)
    plain = type(data).get_data_info

    def nameless(idx):
        info = plain(data, idx)
        info.pop("scene_name")
        info["timestamp"] += 100.0 * (idx // 2)  # pairs of keyframes
        return info

    data.get_data_info._info = nameless
    still = np.eye(4)
    assert not np.allclose(data.get_data_info(1)["history"][0]["from_present"], still)
    np.testing.assert_allclose(
        data.get_data_info(2)["history"][0]["from_present"], still, atol=1e-9
    )


def test_workers_can_pickle_it(root):
    data = pickle.loads(pickle.dumps(frames(root, 1)))
    assert len(data.get_data_info(1)["history"]) == 1


def test_a_sample_with_history_is_packed(root):
    steps = [
        LoadCheckedPoints(load_dim=5, use_dim=[0, 1, 2, 3]),
        LoadCameras(history=1),
        AugmentImages((96, 256)),
        DepthTargets(8),
        PackBEV(keys=("points", "img", "depth")),
    ]
    sample = frames(root, 1, steps).prepare_data(1)
    assert sample["inputs"]["img"].shape == (12, 3, 96, 256)
    assert sample["inputs"]["depth"].shape == (6, 12, 32)
    (moment,) = sample["data_samples"].metainfo["history"]
    earlier = {**moment, "lidar_aug_matrix": np.eye(4)}
    then = Cameras.of_samples([earlier])
    now = Cameras.of_samples([sample["data_samples"].metainfo])
    assert then.present.all()
    np.testing.assert_allclose(then.image_aug, now.image_aug)


def test_one_camera_of_kitti(converted_world):
    """KITTI's P2 has a fourth column: the chain keeps it."""
    from mmdet3d.datasets import KittiDataset

    root = converted_world / "kitti"
    data = KittiDataset(
        data_root=str(root),
        ann_file="kitti_infos_train.pkl",
        data_prefix={"pts": "training/velodyne", "img": "training/image_2"},
        modality={"use_lidar": True, "use_camera": True},
        pipeline=[
            LoadCheckedPoints(load_dim=4, use_dim=4),
            LoadCameras(("CAM2",)),
            AugmentImages((192, 640)),
            DepthTargets(16),
            PackBEV(keys=("points", "img", "depth")),
        ],
        test_mode=True,
    )
    sample = data.prepare_data(0)
    assert sample["inputs"]["img"].shape == (1, 3, 192, 640)
    assert (sample["inputs"]["depth"] > 0).float().mean() > 0.3
    info = data.get_data_info(0)["images"]["CAM2"]
    point = torch.tensor([12.0, 1.0, -0.5, 1.0]).double().numpy()
    u, v, d, _ = np.array(info["cam2img"]) @ np.array(info["lidar2cam"]) @ point
    cameras = Cameras.of_samples([sample["data_samples"].metainfo])
    found = cameras.image_from_lidar[0, 0] @ point
    wanted = cameras.image_aug[0, 0][:2, :3] @ [u / d, v / d, 1]
    np.testing.assert_allclose(found[:2] / found[2], wanted, atol=1e-2)
