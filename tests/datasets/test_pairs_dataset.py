# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from lidistill.converters.info_paths import InfoPaths, default_prefix
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.datasets.collate import collate_pairs
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.datasets.sampler import Draw, SeededSampler
from lidistill.datasets.transforms import (
    FlipImages,
    LoadImages,
    LoadPoints,
    LoadSuperpixels,
    PackPairs,
    PairPoints,
    ResizeImages,
    RotateFlipPoints,
    Voxelize,
)
from lidistill.geometry.voxels import CylindricalVoxels
from lidistill.io import DataError, dump_pickle, load_pickle

FULL = [
    LoadPoints(),
    LoadImages(),
    LoadSuperpixels(),
    PairPoints(),
    RotateFlipPoints(),
    ResizeImages((28, 48)),
    FlipImages(),
    Voxelize(CylindricalVoxels((0.5, 2.0, 0.5))),
    PackPairs(),
]


def build(root: Path, pipeline=(), **kwargs) -> ImageLidarPairs:
    return ImageLidarPairs(root / "infos.pkl", root, list(pipeline), **kwargs)


def test_frames_name_their_files(mini_source):
    dataset = build(mini_source, superpixels_dir=mini_source / "slic")
    assert len(dataset) == 3
    frame = dataset[1]
    assert (frame.token, frame.scene) == ("token1", "scene-0001")
    assert frame.lidar_path.is_file()
    assert frame.labels_path is not None
    assert frame.labels_path.is_file()
    assert [camera.name for camera in frame.cameras] == ["CAM_FRONT", "CAM_BACK"]
    for camera in frame.cameras:
        assert camera.image_path.is_file()
        assert camera.superpixels_path is not None
        assert camera.superpixels_path.is_file()
    assert frame.points.shape == (0, 5)
    assert dataset.metainfo["version"] == "v1.0-mini"


def test_relative_info_file_and_chosen_cameras(mini_source):
    dataset = ImageLidarPairs("infos.pkl", mini_source, [], cameras=["CAM_BACK"], indices=2)
    assert len(dataset) == 2
    assert [camera.name for camera in dataset[0].cameras] == ["CAM_BACK"]


def test_draw_decides_everything_random(mini_source):
    dataset = build(mini_source, FULL[:5])
    with pytest.raises(ValueError, match="superpixel"):
        dataset[0]
    dataset = build(mini_source, FULL, superpixels_dir=mini_source / "slic")
    one, same, other = dataset[Draw(0, 5)], dataset[Draw(0, 5)], dataset[Draw(0, 6)]
    np.testing.assert_array_equal(one.points, same.points)
    assert (one.points != other.points).any()
    np.testing.assert_array_equal(dataset[2].points, dataset[2].points)
    assert dataset[np.int64(1)].token == "token1"


def test_pipeline_entries_may_be_configs(mini_source):
    dataset = build(mini_source, [dict(type=LoadPoints), dict(type="ResizeImages", size=(6, 8))])
    assert dataset.steps[1].size == (6, 8)


def test_dataset_survives_pickling_and_workers_give_the_same(mini_source):
    dataset = build(mini_source, FULL, superpixels_dir=mini_source / "slic")
    assert pickle.loads(pickle.dumps(dataset))[0].token == "token0"
    batches = []
    for workers in (0, 2):
        loader = DataLoader(
            dataset,
            batch_size=2,
            sampler=SeededSampler(dataset, seed=3),
            num_workers=workers,
            collate_fn=collate_pairs,
        )
        batches.append([batch["inputs"] for batch in islice(loader, 2)])
    for ours, theirs in zip(*batches, strict=True):
        assert ours.tokens == theirs.tokens
        for name in ("points", "images", "pair_uv", "superpixels", "voxel_features"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_plain_samplers_work_too(mini_source):
    dataset = build(mini_source, [LoadPoints()])
    tokens = [dataset[i].token for i in DefaultSampler(dataset, shuffle=False)]
    assert tokens == ["token0", "token1", "token2"]


def test_default_folders_follow_the_dataset():
    assert default_prefix({"dataset": "nuscenes", "version": "bench"})["pts_semantic_mask"] == (
        "lidarseg/bench"
    )
    assert default_prefix({"dataset": "kitti"})["CAM2"] == "training/image_2"
    reduced = {"dataset": "kitti", "points_folder": "velodyne_reduced"}
    assert default_prefix(reduced)["pts"] == "training/velodyne_reduced"
    assert default_prefix({"dataset": "kitti", "split": "test"})["pts"] == "testing/velodyne"
    locate = InfoPaths("/data", {}, {"pts": "clouds"})
    assert str(locate("a.bin", "pts")) == "/data/clouds/a.bin"
    assert str(locate("x/a.bin", "pts")) == "/data/x/a.bin"
    assert str(locate("a.png", "CAM_X")) == "/data/a.png"


def test_real_nuscenes_frames(realdata_dir, tmp_path):
    """Two real keyframes: about 22,000 pairs, most pixels of a truck are near, all frames load."""
    from lidistill.converters.nuscenes.convert import convert_nuscenes

    root = realdata_dir / "nuscenes"
    infos = convert_nuscenes(root, "v1.0-trainval", tmp_path, max_sweeps=0)
    for path in infos.values():
        frame = ImageLidarPairs(path, root, [LoadPoints(), LoadImages(), PairPoints()])[0]
        counts = frame.need_pairs().counts(6)
        assert counts.min() > 2000
        assert 18_000 < counts.sum() < 28_000
        front = next(i for i, camera in enumerate(frame.cameras) if camera.name == "CAM_FRONT")
        own = frame.need_pairs().where(frame.need_pairs().camera == front)
        forward = frame.points[own.point, 1]  # nuScenes' LiDAR looks along +y
        assert (forward > 0).mean() > 0.99
        low = own.pixel_uv[:, 1] > 750  # the lower rows of the image show the near road
        assert np.median(forward[low]) < np.median(forward[~low])


def check_kitti(root: Path, out: Path, **options) -> None:
    """Pairs of all frames lie where the info file's own projection matrix puts the points."""
    infos = convert_kitti(root, out_dir=out, **options)
    for split in ("train", "test"):
        dataset = ImageLidarPairs(infos[split], root, [LoadPoints(), LoadImages(), PairPoints()])
        frame, info = dataset[0], dataset.get_data_info(0)
        pairs = frame.need_pairs()
        assert len(pairs) > 3000
        assert [camera.name for camera in frame.cameras] == ["CAM2"]
        xyz1 = np.c_[frame.points[pairs.point, :3].astype(np.float64), np.ones(len(pairs))]
        uvw = xyz1 @ np.array(info["images"]["CAM2"]["lidar2img"]).T
        np.testing.assert_allclose(pairs.pixel_uv, uvw[:, :2] / uvw[:, 2:3], atol=1e-6)


def test_real_kitti_frames(realdata_dir, tmp_path):
    check_kitti(realdata_dir / "kitti", tmp_path, skip_incomplete=True)
    check_kitti(realdata_dir / "kitti", tmp_path / "reduced", points="velodyne_reduced")


def test_embedded_world_in_kitti_s_layout(tiny_world, tmp_path):
    check_kitti(tiny_world / "kitti", tmp_path)


def test_embedded_world_frames(tiny_world, tmp_path):
    from lidistill.converters.nuscenes.convert import convert_nuscenes

    root = tiny_world / "nuscenes"
    infos = convert_nuscenes(root, "v1.0-mini", tmp_path)
    dataset = ImageLidarPairs(infos["train"], root, FULL[:2] + FULL[3:])
    batch = collate_pairs([dataset[0], dataset[1]])["inputs"]
    assert batch.batch_size == 2
    assert batch.superpixels is None
    assert len(batch.pair_point) > 1000
    assert batch.images.shape == (12, 3, 28, 48)


def test_images_of_one_file_name_have_names_of_their_own(mini_source, tmp_path):
    """A teacher's cache knows images by their tokens; folders of cameras name files alike."""
    content = load_pickle(mini_source / "infos.pkl")
    images = content["data_list"][0]["images"]
    for image in images.values():
        del image["sample_data_token"]
        image["img_path"] = "0001.jpg"
    dump_pickle(tmp_path / "infos.pkl", content)
    cameras = ImageLidarPairs(tmp_path / "infos.pkl", mini_source, [])[0].cameras
    assert [c.token for c in cameras] == [f"samples/{name}/0001.jpg" for name in images]
    for image in images.values():
        image["sample_data_token"] = "one"
    dump_pickle(tmp_path / "infos.pkl", content)
    with pytest.raises(DataError, match="Two images have the sample_data_token one: CAM_FRONT/"):
        ImageLidarPairs(tmp_path / "infos.pkl", mini_source, [])
