# SPDX-License-Identifier: Apache-2.0
"""Pairs on KITTI's three layouts: projected as a naive loop does, taught by every method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lidistill.converters.infos import load_infos
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.kitti.raw import convert_kitti_raw
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.converters.superpixels.make import make_superpixels
from lidistill.datasets.collate import collate_pairs
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.datasets.transforms import (
    DropCuboid,
    FlipImages,
    KeepPairedPoints,
    LoadImages,
    LoadPoints,
    LoadSuperpixels,
    PackPairs,
    PairPoints,
    ResizedCropImages,
    RotateFlipPoints,
    Voxelize,
)
from lidistill.geometry.boxes import kitti_to_lidar_boxes, points_in_boxes
from lidistill.geometry.voxels import CartesianVoxels
from lidistill.io import DataError
from lidistill.methods import PPKT, ScaLR, SLidR, STSLidR
from lidistill.models.teachers.efficientnet_lite import EfficientNetLiteTeacher
from tests.kitti_roots import raw_root, semantic_root

SIZE = (64, 192)


@pytest.fixture(scope="module", params=["kitti", "kittiraw", "semantickitti"])
def data(
    request: pytest.FixtureRequest, converted_world: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """Root, info file and superpixels."""
    out = tmp_path_factory.mktemp(request.param)
    world = converted_world / "kitti"
    if request.param == "kitti":
        root, infos = world, world / "kitti_infos_val.pkl"
    elif request.param == "kittiraw":
        root = raw_root(world, out / "raw")
        infos = convert_kitti_raw(root)["train"]
    else:
        root = semantic_root(world, out / "semantic")
        infos = convert_semantic_kitti(root)["train"]
    make_superpixels(infos, root, out / "slic", segments=20, jobs=1)
    return root, infos, out / "slic"


def pairs(data: tuple[Path, Path, Path], *steps) -> ImageLidarPairs:
    root, infos, store = data
    return ImageLidarPairs(ann_file=infos, data_root=root, pipeline=steps, superpixels_dir=store)


def test_pairs_are_where_a_naive_projection_puts_them(data: tuple[Path, Path, Path]) -> None:
    frame = pairs(data, LoadPoints(), LoadImages(), LoadSuperpixels(), PairPoints())[0]
    image = load_infos(data[1]).frames[0]["images"]["CAM2"]
    lidar2img = np.array(image["cam2img"])[:3] @ np.array(image["lidar2cam"])
    found = dict(zip(frame.pairs.point.tolist(), frame.pairs.pixel_uv.tolist(), strict=True))
    for row in range(0, len(frame.points), 37):
        u, v, depth = lidar2img @ [*frame.points[row, :3].astype(float), 1.0]
        u, v = u / depth, v / depth
        inside = 0 < u < image["width"] - 1 and 0 < v < image["height"] - 1 and depth > 1.0
        assert (row in found) == inside
        if inside:
            assert found[row] == pytest.approx((u, v), abs=1e-3)
    assert frame.cameras[0].superpixels.shape == (image["height"], image["width"])


def test_the_camera_s_view_alone(data: tuple[Path, Path, Path]) -> None:
    whole = pairs(data, LoadPoints(), PairPoints())[0]
    cut = pairs(data, LoadPoints(), PairPoints(), KeepPairedPoints())[0]
    assert len(cut.points) == len(np.unique(whole.pairs.point)) < len(whole.points)
    np.testing.assert_array_equal(cut.points[cut.pairs.point], whole.points[whole.pairs.point])
    np.testing.assert_array_equal(cut.point_index, np.unique(whole.pairs.point))
    kept = pairs(data, LoadPoints(), PairPoints(), KeepPairedPoints(probability=0.0))[0]
    assert len(kept.points) == len(whole.points)


class Student(nn.Module):
    """A linear layer on voxels, so that the methods are what is tested."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 8)

    def forward(self, voxel_features: torch.Tensor) -> torch.Tensor:
        return self.layer(voxel_features)


@pytest.mark.parametrize("method", [SLidR, STSLidR, PPKT, ScaLR])
def test_every_method_of_the_family(data: tuple[Path, Path, Path], method: type) -> None:
    voxels = CartesianVoxels(size=(0.4, 0.4, 0.4), point_range=(-51.2, -51.2, -4, 51.2, 51.2, 8.8))
    dataset = pairs(
        data,
        LoadPoints(),
        LoadImages(),
        LoadSuperpixels(),
        PairPoints(),
        RotateFlipPoints(),
        DropCuboid(min_pairs=50),
        ResizedCropImages(size=SIZE, ratio=(2.6, 3.6), min_pairs=50),
        FlipImages(),
        Voxelize(voxels, features=("intensity", "z")),
        PackPairs(),
    )
    batch = collate_pairs([dataset[0], dataset[1]])["inputs"]
    assert batch.images.shape == (2, 3, *SIZE)
    torch.manual_seed(0)
    teacher = EfficientNetLiteTeacher(stride=8, levels=(4, 8), weights="random", width=0.25)
    width = teacher.out_channels
    networks = {
        "student": Student(),
        "teacher": {"model": teacher},
        "point_head": nn.Linear(8, 16 if method is not ScaLR else width),
        "student_inputs": ("voxel_features",),
    }
    if method is not ScaLR:
        networks["image_head"] = nn.Conv2d(width, 16, 1)
    model = method(**networks).train()
    losses = model(batch, mode="loss")
    total = sum(value for name, value in losses.items() if name.startswith("loss"))
    total.backward()
    assert torch.isfinite(total)
    assert float(model.student.layer.weight.grad.abs().sum()) > 0


def test_images_of_two_sizes_in_one_batch(converted_world: Path, tmp_path: Path) -> None:
    """KITTI's days have images of other sizes; a batch crops them all to one."""
    import cv2

    root = semantic_root(converted_world / "kitti", tmp_path / "semantic", ("00", "01", "08"))
    for path in sorted((root / "sequences/01/image_2").iterdir()):
        image = cv2.imread(str(path))
        path.unlink()
        cv2.imwrite(str(path), image[:-3, :-7])  # cut on the right and below: P2 stays
    infos = convert_semantic_kitti(root)["train"]
    make_superpixels(infos, root, tmp_path / "slic", segments=20, jobs=1)
    voxels = CartesianVoxels(size=(0.4, 0.4, 0.4), point_range=(-51.2, -51.2, -4, 51.2, 51.2, 8.8))
    dataset = pairs(
        (root, infos, tmp_path / "slic"),
        LoadPoints(),
        LoadImages(),
        LoadSuperpixels(),
        PairPoints(),
        ResizedCropImages(size=SIZE, ratio=(2.6, 3.6), min_pairs=50),
        Voxelize(voxels, features=("intensity", "z")),
        PackPairs(),
    )
    frames = [dataset[0], dataset[2]]
    assert frames[0].cameras[0].file_size != frames[1].cameras[0].file_size
    batch = collate_pairs(frames)["inputs"]
    assert batch.file_size.tolist() == [list(f.cameras[0].file_size) for f in frames]
    assert batch.superpixels.shape == (2, *SIZE)


def test_a_scan_without_its_image(converted_world: Path, tmp_path: Path) -> None:
    root = semantic_root(converted_world / "kitti", tmp_path / "semantic")
    (root / "sequences/00/image_2/000001.png").unlink()
    with pytest.raises(DataError, match=r"(?s)Image of a scan not found.*data_odometry_color"):
        convert_semantic_kitti(root)
    frames = load_infos(convert_semantic_kitti(root, skip_incomplete=True)["train"]).frames
    assert [frame["token"] for frame in frames] == ["00_000000"]
    (root / "sequences/00/calib.txt").write_text("Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(DataError, match="Expected a line 'P2: "):
        convert_semantic_kitti(root)


def test_real_points_of_a_box_are_paired_inside_its_rectangle(
    realdata_dir: Path, tmp_path: Path
) -> None:
    """Ten real frames: a calibration that is right puts each car's points into its 2-D box."""
    root = tmp_path / "kitti"
    root.mkdir()
    (root / "training").symlink_to(realdata_dir / "kitti" / "training")
    (root / "ImageSets").mkdir()
    names = [path.stem for path in sorted((root / "training/velodyne_reduced").glob("*.bin"))]
    (root / "ImageSets/train.txt").write_text("\n".join(names))
    infos = convert_kitti(root, out_dir=tmp_path, points="velodyne_reduced")["train"]
    dataset = ImageLidarPairs(ann_file=infos, data_root=root, pipeline=[LoadPoints(), PairPoints()])
    inside = total = 0
    for row, info in enumerate(load_infos(infos).frames):
        frame = dataset[row]
        assert len(frame.pairs) > 0.98 * len(frame.points)  # cut to the image as they come
        uv = np.full((len(frame.points), 2), np.nan)
        uv[frame.pairs.point] = frame.pairs.pixel_uv
        to_lidar = np.linalg.inv(np.array(info["images"]["CAM2"]["lidar2cam"]))
        for box, instance in zip(*_lidar_boxes(info, to_lidar), strict=True):
            rows = points_in_boxes(frame.points[:, :3], box[None])[:, 0]
            left, top, right, bottom = instance["bbox"]
            u, v = uv[rows].T
            total += int(rows.sum())
            inside += int(((u >= left) & (u <= right) & (v >= top) & (v <= bottom)).sum())
    assert total > 1000
    assert inside > 0.95 * total


def _lidar_boxes(info: dict, lidar_from_camera: np.ndarray) -> tuple[np.ndarray, list[dict]]:
    """Boxes of a frame's objects in the LiDAR's frame."""
    objects = [one for one in info["instances"] if one["bbox_label"] >= 0]
    rows = np.array([one["bbox_3d"] for one in objects]).reshape(-1, 7)  # x y z l h w yaw
    labels = rows[:, [4, 5, 3, 0, 1, 2, 6]]  # h w l x y z yaw, as the files have them
    return kitti_to_lidar_boxes(labels, lidar_from_camera), objects
