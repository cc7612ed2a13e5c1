# SPDX-License-Identifier: Apache-2.0
"""Each sentence of docs/conventions.md, once."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from lidistill.converters.infos import load_infos
from lidistill.converters.kitti.files import read_calibration
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.datasets.sampler import Draw
from lidistill.datasets.transforms import (
    FlipImages,
    LoadPoints,
    PairPoints,
    ResizedCropImages,
    RotateFlipPoints,
)
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.boxes import (
    bottom_to_center,
    boxes_to_corners,
    kitti_to_lidar_boxes,
    points_in_boxes,
)
from lidistill.geometry.correspondence import Pairs, resize_labels
from lidistill.geometry.frames import (
    apply_transform,
    compose,
    make_transform,
    quaternion_to_matrix,
    rotation_about_z,
)
from lidistill.geometry.projection import camera_from_lidar, pair_points, project
from lidistill.geometry.voxels import CartesianVoxels, CylindricalVoxels
from tests.datasets.mini import make_mini

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conventions.md"
INTRINSICS = np.array([[50.0, 0, 49.5], [0, 50.0, 29.5], [0, 0, 1]])


def one_pixel(u: float, v: float) -> Pairs:
    return Pairs(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([[u, v]]))


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("conventions")
    make_mini(root, superpixels=False)
    return root


@pytest.fixture(scope="module")
def nuscenes_info(tiny_world, tmp_path_factory):
    infos = convert_nuscenes(
        tiny_world / "nuscenes", "v1.0-mini", tmp_path_factory.mktemp("infos"), max_sweeps=0
    )
    return load_infos(infos["train"]).frames[0]


def test_every_sentence_has_a_test_and_every_test_a_sentence():
    items = re.split(r"\n- ", PAGE.read_text(encoding="utf-8"))[1:]
    named = [re.search(r"\(`(test_convention_\w+)`\)", item) for item in items]
    assert all(named), [item for item, name in zip(items, named, strict=True) if not name]
    tests = [name for name in globals() if name.startswith("test_convention_")]
    assert sorted(name.group(1) for name in named if name) == sorted(tests)


def test_convention_units():
    quarter = rotation_about_z(np.pi / 2)
    np.testing.assert_allclose(apply_transform(quarter, np.eye(3))[0], [0, 1, 0], atol=1e-15)
    assert CylindricalVoxels.coordinates(np.array([[0.0, 2.0, 0.0]]))[0, 1] == 90.0  # phi_deg


def test_convention_ego_axes(nuscenes_info):
    """The front camera stands ahead of the rear axle and looks along the ego's x; left is +y."""
    for name, axis in (("CAM_FRONT", [1, 0, 0]), ("CAM_BACK", [-1, 0, 0])):
        ego_from_camera = np.array(nuscenes_info["images"][name]["cam2ego"])
        np.testing.assert_allclose(ego_from_camera[:3, 2], axis, atol=0.05)
        assert ego_from_camera[2, 3] > 1  # above the ground
    left = np.array(nuscenes_info["images"]["CAM_FRONT_LEFT"]["cam2ego"])
    assert left[1, 2] > 0.5


def test_convention_lidar_axes(nuscenes_info, tiny_world):
    ego_from_lidar = np.array(nuscenes_info["lidar_points"]["lidar2ego"])
    np.testing.assert_allclose(
        ego_from_lidar[:3, :3], [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=0.05
    )
    file = sorted((tiny_world / "kitti" / "training" / "calib").glob("*.txt"))[0]
    camera_from_velo = read_calibration(file, file.stem).camera_from_lidar
    # ahead of KITTI's LiDAR is depth, its left is the camera's -x, up is the camera's -y
    np.testing.assert_allclose(
        camera_from_velo[:3, :3], [[0, -1, 0], [0, 0, -1], [1, 0, 0]], atol=0.05
    )


def test_convention_camera_axes():
    points = np.array([[0.0, 0.0, 10.0], [1.0, 0.0, 10.0], [0.0, 1.0, 10.0]])
    uv, depth = project(points, np.eye(4), INTRINSICS)
    np.testing.assert_array_equal(depth, 10.0)
    assert uv[1, 0] > uv[0, 0]  # x to the right
    assert uv[1, 1] == uv[0, 1]
    assert uv[2, 1] > uv[0, 1]  # y downward
    assert uv[2, 0] == uv[0, 0]


def test_convention_target_from_source():
    rng = np.random.default_rng(0)
    a_from_b, b_from_c = (make_transform(rng.normal(size=4), rng.normal(size=3)) for _ in range(2))
    assert a_from_b.shape == (4, 4)
    assert a_from_b.dtype == np.float64
    in_c = rng.normal(size=(5, 3))
    np.testing.assert_allclose(
        apply_transform(compose(a_from_b, b_from_c), in_c),
        apply_transform(a_from_b, apply_transform(b_from_c, in_c)),
    )
    np.testing.assert_array_equal(compose(a_from_b, b_from_c), a_from_b @ b_from_c)


def test_convention_quaternions():
    angle = 0.7
    matrix = quaternion_to_matrix([3 * np.cos(angle / 2), 0, 0, 3 * np.sin(angle / 2)])
    np.testing.assert_allclose(matrix, rotation_about_z(angle)[:3, :3], atol=1e-15)


def test_convention_two_ego_poses():
    """The vehicle drives 2 m until the image is taken: a point is 2 m nearer to the camera."""
    lidar = camera = make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0, 0, 0])
    then = make_transform(np.eye(3), [1000.0, 2000.0, 0.0])
    later = make_transform(np.eye(3), [1002.0, 2000.0, 0.0])
    transform = camera_from_lidar(camera, later, then, lidar)
    assert transform.dtype == np.float64
    point = np.array([[0.0, 0.0, 10.0]], np.float32)  # both sensors look along the ego's x
    np.testing.assert_allclose(apply_transform(transform, point), [[0, 0, 8]], atol=1e-12)


def test_convention_matrices_follow(mini):
    steps = [RotateFlipPoints(), ResizedCropImages((28, 48), min_pairs=50), FlipImages()]
    frame = ImageLidarPairs(mini / "infos.pkl", mini, [LoadPoints(), PairPoints(), *steps])[0]
    pairs = frame.need_pairs()
    for index, camera in enumerate(frame.cameras):
        own = pairs.where(pairs.camera == index)
        uv, _ = project(frame.points[own.point, :3], camera.camera_from_lidar, camera.intrinsics)
        np.testing.assert_allclose(uv, own.pixel_uv, atol=1e-3)


def test_convention_pixel_order():
    assert one_pixel(70.0, 20.0).rowcol().tolist() == [[20, 70]]


def test_convention_pixel_centres():
    """u = 0 is the middle of the first column: [-0.5, 0.5) belongs to it."""
    inside = [bool(one_pixel(u, 0.0).inside(1, 4)[0]) for u in (-0.51, -0.49, 0.0, 3.49, 3.51)]
    assert inside == [False, True, True, True, False]


def test_convention_pixel_rounding():
    columns = [one_pixel(u, 0.0).rowcol()[0, 1] for u in (0.49, 0.5, 0.51, 1.5, 2.5)]
    assert columns == [0, 0, 1, 2, 2]


def test_convention_pairs():
    at = [[-49.5, 0, 50], [49.5, 0, 50], [49.0, 0, 50], [0, 0, 1.0], [0, 0, 1.001], [0, 0, -5]]
    twice = pair_points(
        np.array(at), np.stack([np.eye(4)] * 2), np.stack([INTRINSICS] * 2), (60, 100)
    )
    # u = 0 and u = 99 are out, so is depth 1; what is in pairs with both (equal) cameras
    assert twice.point.tolist() == [2, 4, 2, 4]
    assert twice.camera.tolist() == [0, 0, 1, 1]


def test_convention_resize():
    """Halving puts the border of old pixels 1 and 2 on the border of new pixels 0 and 1."""
    assert one_pixel(1.5, 1.5).resize((4, 4), (2, 2)).pixel_uv.tolist() == [[0.5, 0.5]]
    crop = one_pixel(12.0, 9.0).crop_resize((5, 10, 20, 40), (60, 80))
    np.testing.assert_allclose(crop.pixel_uv, [[(2 + 0.5) * 2 - 0.5, (4 + 0.5) * 3 - 0.5]])


def test_convention_mirror():
    mirrored = one_pixel(2.25, 7.0).flip(np.array([True]), np.array([100]))
    assert mirrored.pixel_uv.tolist() == [[99 - 2.25, 7.0]]


def test_convention_labels():
    labels = np.arange(16).reshape(4, 4)
    assert resize_labels(labels, (0, 0, 4, 4), (2, 2)).tolist() == [[5, 7], [13, 15]]
    assert resize_labels(labels, (0, 0, 4, 4), (8, 8))[::2, ::2].tolist() == labels.tolist()


def test_convention_compat():
    assert one_pixel(2.0, 2.0).resize((4, 4), (2, 2), compat=True).pixel_uv.tolist() == [[1, 1]]
    assert resize_labels(
        np.arange(16).reshape(4, 4), (0, 0, 4, 4), (2, 2), compat=True
    ).tolist() == [
        [0, 2],
        [8, 10],
    ]
    assert one_pixel(1.6, 2.4).rounded().pixel_uv.tolist() == [[2.0, 2.0]]


def test_convention_box_centre():
    box = np.array([[1.0, 2.0, 3.0, 4.0, 2.0, 6.0, 0.3, 9.0, 9.0]])
    np.testing.assert_allclose(boxes_to_corners(box)[0].mean(axis=0), [1, 2, 3])
    assert bottom_to_center(box)[0, 2] == 6.0


def test_convention_box_yaw():
    box = np.array([[0.0, 0.0, 0.0, 10.0, 1.0, 1.0, np.pi / 2]])
    assert points_in_boxes(np.array([[0.0, 4.9, 0.0], [4.9, 0.0, 0.0]]), box)[:, 0].tolist() == [
        True,
        False,
    ]
    box[0, 6] = np.pi / 4  # from x towards y: the nose is at positive x and y
    assert points_in_boxes(np.array([[3.4, 3.4, 0.0], [3.4, -3.4, 0.0]]), box)[:, 0].tolist() == [
        True,
        False,
    ]


def test_convention_box_corners():
    corners = boxes_to_corners(np.array([[0.0, 0.0, 0.0, 4.0, 2.0, 6.0, 0.0]]))[0]
    ring = [[2, 1], [-2, 1], [-2, -1], [2, -1]]  # x forward, y left
    assert corners[:, :2].tolist() == ring + ring
    assert corners[:, 2].tolist() == [-3] * 4 + [3] * 4


def test_convention_box_faces():
    box = np.array([[0.0, 0.0, 0.0, 4.0, 2.0, 6.0, 0.0]])
    faces = np.array([[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 3], [0, 0, -3]])
    assert points_in_boxes(faces, box).all()
    assert not points_in_boxes(faces * (1 + 1e-12), box).any()


def test_convention_kitti_labels():
    camera_from_lidar_ = make_transform([[0, -1, 0], [0, 0, -1], [1, 0, 0]], [0.0, 0.0, 0.0])
    # h w l x y z rotation_y: a car 20 m ahead on a road 1.7 m below, driving away from us
    label = np.array([[1.5, 1.6, 4.0, 0.0, 1.7, 20.0, -np.pi / 2]])
    (box,) = kitti_to_lidar_boxes(label, np.linalg.inv(camera_from_lidar_))
    np.testing.assert_allclose(box, [20.0, 0.0, -1.7 + 0.75, 4.0, 1.6, 1.5, 0.0], atol=1e-12)


GRID = BEVGrid(x_range=(0.0, 8.0), y_range=(-2.0, 4.0), cell=(2.0, 1.0))  # 6 rows, 4 columns


def test_convention_bev_order():
    assert GRID.shape == (6, 4)
    assert GRID.index(torch.tensor([[0.1, -1.9], [7.9, -1.9], [0.1, 3.9]]))[0].tolist() == [
        [0, 0],
        [0, 3],
        [5, 0],
    ]


def test_convention_bev_cells():
    cells = GRID.cells_from_metres(torch.tensor([[0.0, -2.0], [1.0, -1.5], [2.0, -1.0]]))
    assert cells.tolist() == [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]
    assert GRID.centres()[0, 0].tolist() == [1.0, -1.5]


def test_convention_bev_normalised():
    corners = GRID.normalised_from_metres(torch.tensor([[0.0, -2.0], [8.0, 4.0], [8.0, -2.0]]))
    assert corners.tolist() == [[-1, -1], [1, 1], [1, -1]]
    bev = torch.arange(24.0).reshape(1, 1, 6, 4)
    where = GRID.normalised_from_metres(GRID.centres()[4, 1])[None, None, None]
    assert float(grid_sample(bev, where, align_corners=False)) == float(bev[0, 0, 4, 1])


def test_convention_sparse_order():
    index = CartesianVoxels((1.0, 1.0, 1.0), (0, 0, 0, 9, 8, 7)).quantize(
        np.array([[1.5, 2.5, 3.5]])
    )
    assert index.coords.tolist() == [[3, 2, 1]]
    assert index.coords.dtype == np.int32
    assert index.coords.flags["C_CONTIGUOUS"]
    grid = CylindricalVoxels((1.0, 1.0, 1.0), 32.0, (0.0, 16.0))
    assert grid.spatial_shape == (16, 384, 32)
    # 3 m up, azimuth 0 in the cell after the 192 of the negative side, 5 m out
    assert grid.quantize(np.array([[5.5, 0.01, 3.5]])).coords.tolist() == [[3, 192, 5]]


def test_convention_voxel_cells():
    grid = CartesianVoxels((2.0, 2.0, 2.0), (-4, -4, -4, 4, 4, 4))
    points = np.zeros((5, 3))
    points[:, 0] = [-4.0, -2.001, -2.0, 3.999, 4.0]
    index = grid.quantize(points)
    assert index.coords[index.point_to_voxel[:4], 2].tolist() == [0, 0, 1, 3]
    assert index.point_to_voxel[4] == -1
    assert len(index.point_to_voxel) == 5


def test_convention_voxel_representative():
    index = CartesianVoxels((1.0, 1.0, 1.0), (0, 0, 0, 9, 9, 9)).quantize(
        np.array([[5.5, 0.5, 0.5], [0.9, 0.5, 0.5], [0.1, 0.5, 0.5]])
    )
    assert index.representative.tolist() == [1, 0]


def test_convention_azimuth():
    grid = CylindricalVoxels((1.0, 1.0, 1.0))
    first, last = grid.quantize(np.array([[-5.5, -0.01, 0.5], [-5.5, 0.01, 0.5]])).coords[:, 1]
    assert abs(int(last) - int(first)) == 359


def test_convention_draw(mini):
    dataset = ImageLidarPairs(mini / "infos.pkl", mini, [LoadPoints(), RotateFlipPoints()])
    first = dataset[Draw(1, 7)].points
    dataset[Draw(2, 8)]
    np.testing.assert_array_equal(dataset[Draw(1, 7)].points, first)
    assert (dataset[Draw(1, 9)].points != first).any()
