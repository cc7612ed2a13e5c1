# SPDX-License-Identifier: Apache-2.0
"""The picture of a BEV sample, on real keyframes: depths and boxes where the world has them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.datasets.bev.augment import AugmentBEV
from lidistill.datasets.bev.cameras import CAMERAS, AugmentImages, LoadCameras
from lidistill.datasets.bev.depths import DepthTargets
from lidistill.datasets.bev.frames import nuscenes_frames
from lidistill.datasets.bev.pack import PackBEV
from lidistill.datasets.detections import seeded
from lidistill.datasets.point_files import LoadCheckedPoints
from lidistill.geometry.boxes import points_in_boxes
from lidistill.geometry.cameras import Cameras
from lidistill.geometry.frames import compose, invert, make_transform
from lidistill.visualization.cameras.sheet import camera_sheet

compat.apply()


def frames(root, *steps, split="train"):
    from mmdet3d.datasets.transforms import LoadAnnotations3D

    prefixes = {name: f"samples/{name}" for name in CAMERAS}
    return nuscenes_frames(
        data_root=str(root),
        ann_file=f"lidistill_infos_{split}.pkl",
        data_prefix={"pts": "samples/LIDAR_TOP", "sweeps": "sweeps/LIDAR_TOP", **prefixes},
        modality={"use_lidar": True, "use_camera": True},
        pipeline=[
            LoadCheckedPoints(load_dim=5, use_dim=5),
            LoadCameras(),
            *steps,
            DepthTargets(16),
            LoadAnnotations3D(with_bbox_3d=True, with_label_3d=True),
            AugmentBEV(45.0, (0.9, 1.1), 0.5, 0.5),
            PackBEV(),
        ],
    )


@pytest.fixture(scope="module")
def real_root(realdata_dir, tmp_path_factory):
    from lidistill.converters.nuscenes.convert import convert_nuscenes

    root = tmp_path_factory.mktemp("real_nuscenes")
    for part in (realdata_dir / "nuscenes").iterdir():
        if part.is_dir():
            shutil.copytree(part, root / part.name, copy_function=shutil.copyfile)
    convert_nuscenes(root, "v1.0-trainval")
    return root


def read_table(root, name):
    return json.loads((root / "v1.0-trainval" / f"{name}.json").read_text())


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_depths_are_those_of_the_tables(real_root, split):
    """Every measured cell has a point of the raw scan behind it, by the tables' own chain."""
    step = AugmentImages((256, 704))
    sample = frames(real_root, step, split=split).prepare_data(0)
    depth = sample["inputs"]["depth"].numpy()
    assert (depth > 0).mean() > 0.5
    path = sample["data_samples"].metainfo["lidar_path"]
    name = path.rsplit("/", 1)[-1]
    records = read_table(real_root, "sample_data")
    lidar = next(r for r in records if r["filename"].endswith(name))
    poses = {r["token"]: r for r in read_table(real_root, "ego_pose")}
    sensors = {r["token"]: r for r in read_table(real_root, "calibrated_sensor")}

    def to_global(record):
        pose, sensor = poses[record["ego_pose_token"]], sensors[record["calibrated_sensor_token"]]
        return compose(
            make_transform(pose["rotation"], pose["translation"]),
            make_transform(sensor["rotation"], sensor["translation"]),
        )

    xyz = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3]
    for k, camera in enumerate(CAMERAS):
        record = next(
            r
            for r in records
            if r["sample_token"] == lidar["sample_token"] and f"/{camera}/" in r["filename"]
        )
        moved = compose(invert(to_global(record)), to_global(lidar))
        seen = xyz @ moved[:3, :3].T + moved[:3, 3]
        matrix = np.array(sensors[record["calibrated_sensor_token"]]["camera_intrinsic"])
        ahead = seen[(seen[:, 2] >= 1) & (seen[:, 2] < 60)]
        pixel = ahead @ matrix.T
        u, v = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
        u, v = (u + 0.5) * 0.44, (v + 0.5) * 0.44 - (396 - 256)  # 704 / 1600, cut above
        inside = (u >= 0) & (u < 704) & (v >= 0) & (v < 256)
        wanted = np.full((16, 44), np.inf)
        cells = (v[inside] / 16).astype(int), (u[inside] / 16).astype(int)
        np.minimum.at(wanted, cells, ahead[inside, 2])
        wanted[np.isinf(wanted)] = 0
        agree = np.abs(depth[k] - wanted) < 1e-3
        assert agree.mean() > 0.999  # a point on a cell's edge may fall on either side


def test_real_boxes_stay_on_their_points_when_all_is_augmented(real_root):
    step = AugmentImages((256, 704), resize=(0.386, 0.55), rotate=5.4, flip=0.5)
    data = frames(real_root, step)
    for seed in range(3):
        with seeded(seed):
            sample = data.prepare_data(0)
        boxes = sample["data_samples"].gt_instances_3d.bboxes_3d
        points = sample["inputs"]["points"][:, :3]
        cameras = Cameras.of_samples([sample["data_samples"].metainfo])
        centred = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:7]], 1)
        held = points_in_boxes(points.numpy(), centred.numpy()).any(1)
        assert held.sum() > 500
        xyz = np.concatenate([points.numpy()[held], np.ones((held.sum(), 1))], 1)
        visible = 0
        for k in range(6):
            u, v, d, _ = cameras.image_from_lidar[0, k] @ xyz.T
            inside = (d > 1) & (u >= 0) & (u < 703 * d) & (v >= 0) & (v < 255 * d)
            row, column = (((a[inside] / d[inside]) + 0.5) / 16 for a in (v, u))
            cells = row.astype(int), column.astype(int)
            measured = sample["inputs"]["depth"][k].numpy()[cells]
            assert (measured <= d[inside] + 0.05).mean() > 0.99  # the nearest of the cell
            visible += inside.sum()
        assert visible > 100
        picture = camera_sheet(sample)
        assert picture.shape == (512, 2112, 3)


def test_boxes_and_depths_are_drawn(converted_world):
    data = frames(converted_world / "nuscenes", AugmentImages((96, 256)))
    with seeded(0):
        sample = data.prepare_data(0)
    whole = camera_sheet(sample)
    assert whole.shape == (192, 768, 3)
    del sample["inputs"]["depth"]
    boxes = camera_sheet(sample)
    del sample["data_samples"].gt_instances_3d
    plain = camera_sheet(sample, columns=4)
    assert plain.shape == (192, 1024, 3)
    assert not plain[96:, 512:].any()
    three = camera_sheet(sample)
    assert (whole != boxes).any(2).mean() > 0.05
    assert 0.001 < (boxes != three).any(2).mean() < 0.3
