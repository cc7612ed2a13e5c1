# SPDX-License-Identifier: Apache-2.0
"""Points, pixels, pairs, superpixels and matrices move together."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from lidistill.datasets.frame import Frame
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.datasets.transforms import (
    DropCuboid,
    FlipImages,
    KeepPairedPoints,
    LoadImages,
    LoadPointLabels,
    LoadPoints,
    LoadSuperpixels,
    PackPairs,
    PairPoints,
    ResizedCropImages,
    ResizeImages,
    RotateFlipPoints,
    SampleCameras,
    Voxelize,
    outside_cuboid,
    random_box,
)
from lidistill.geometry.correspondence import resize_labels
from lidistill.geometry.projection import project
from lidistill.geometry.voxels import CartesianVoxels, CylindricalVoxels

LOAD = [LoadPoints(), LoadPointLabels(), LoadImages(), LoadSuperpixels(), PairPoints()]
CROP = ResizedCropImages(size=(28, 48), min_pairs=100)


@functools.cache
def dataset_of(root: Path) -> ImageLidarPairs:
    return ImageLidarPairs(root / "infos.pkl", root, [], superpixels_dir=root / "slic")


def frame_after(root: Path, *steps, seed: int = 0, load=None, index: int = 0) -> Frame:
    dataset = dataset_of(root)
    frame = dataset.frame(dataset.get_data_info(index), np.random.default_rng(seed))
    for step in (*(LOAD if load is None else load), *steps):
        frame = step(frame)
    return frame


def assert_consistent(frame: Frame, tolerance: float = 2e-4) -> None:
    """The matrices of the frame project its points to its pairs' pixels."""
    pairs = frame.need_pairs()
    assert len(pairs) > 0
    for index, camera in enumerate(frame.cameras):
        own = pairs.where(pairs.camera == index)
        uv, depth = project(
            frame.points[own.point, :3], camera.camera_from_lidar, camera.intrinsics
        )
        assert (depth > 0).all()
        np.testing.assert_allclose(uv, own.pixel_uv, atol=tolerance)
        assert own.inside(camera.height, camera.width).all()
        if camera.image is not None:
            assert camera.image.shape == (camera.height, camera.width, 3)
        if camera.superpixels is not None:
            assert camera.superpixels.shape == (camera.height, camera.width)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [RotateFlipPoints()],
        [DropCuboid(0.5, min_pairs=10)],
        [CROP],
        [ResizeImages((28, 48))],
        [ResizeImages((90, 170))],
        [FlipImages(1.0)],
        [SampleCameras()],
        [SampleCameras(1), CROP, FlipImages()],
        [RotateFlipPoints(), DropCuboid(0.4, 10), CROP, FlipImages(), SampleCameras(1)],
    ],
    ids=lambda steps: "+".join(type(step).__name__ for step in steps) or "load",
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_matrices_pairs_and_images_agree(mini_source, steps, seed):
    assert_consistent(frame_after(mini_source, *steps, seed=seed))


@pytest.mark.parametrize("seed", range(4))
def test_a_pair_keeps_its_superpixel_and_its_point(mini_source, seed):
    """After all augmentations a pair's point has the intensity and region that it had before."""
    before = frame_after(mini_source)
    crop = ResizedCropImages(size=(56, 96), min_pairs=100)
    steps = [RotateFlipPoints(), DropCuboid(0.4, 10), crop, FlipImages()]
    after = frame_after(mini_source, *steps, seed=seed)
    old, new = before.need_pairs(), after.need_pairs()
    where = {(p, c): row for row, (p, c) in enumerate(zip(old.point, old.camera, strict=True))}
    same = 0
    assert after.point_index is not None
    for point, camera, (row, column) in zip(new.point, new.camera, new.rowcol(), strict=True):
        source = after.point_index[point]
        assert after.points[point, 3] == before.points[source, 3]
        old_row, old_column = old.rowcol()[where[source, camera]]
        label = after.cameras[camera].superpixels[row, column]
        same += label == before.cameras[camera].superpixels[old_row, old_column]
    assert same > 0.93 * len(new)  # a region border may shift by a pixel


def test_rotation_and_flips_keep_heights_and_distances(mini_source):
    before, after = frame_after(mini_source), frame_after(mini_source, RotateFlipPoints(), seed=5)
    np.testing.assert_allclose(after.points[:, 2:], before.points[:, 2:])
    np.testing.assert_allclose(
        np.hypot(*after.points[:, :2].T), np.hypot(*before.points[:, :2].T), rtol=1e-5
    )
    assert np.abs(after.points[:, :2] - before.points[:, :2]).max() > 1


def test_rotations_cover_the_circle_and_flips_happen(mini_source):
    signs, angles = set(), []
    for seed in range(40):
        frame = frame_after(mini_source, RotateFlipPoints(), seed=seed, load=[LoadPoints()])
        rotation = frame.cameras[0].camera_from_lidar[:3, :3]
        signs.add(round(float(np.linalg.det(rotation))))
        angles.append(np.arctan2(frame.points[0, 1], frame.points[0, 0]))
    assert signs == {-1, 1}
    assert np.ptp(angles) > 5


def test_cuboid_drop_equals_a_naive_loop():
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(200, 3)).astype(np.float32)
    keep = outside_cuboid(xyz, 17, 0.3)
    side = (xyz.max(0) - xyz.min(0)) * 0.3
    for point, kept in zip(xyz, keep, strict=True):
        inside = all(abs(point[k] - xyz[17][k]) < side[k] / 2 for k in range(3))
        assert kept != inside
    assert 1 <= (~keep).sum() < 200


def test_cuboid_drop_is_undone_when_a_camera_would_keep_too_few(mini_source):
    assert len(frame_after(mini_source, DropCuboid(0.8, 10), seed=1).points) < 3000
    assert len(frame_after(mini_source, DropCuboid(0.8, 10**6), seed=1).points) == 3000


def test_cuboid_drop_cuts_labels_with_the_points(mini_source):
    frame = frame_after(mini_source, DropCuboid(0.5, 10), seed=1)
    assert frame.point_labels is not None
    assert frame.point_index is not None
    np.testing.assert_array_equal(frame.point_labels, frame.point_index % 32)


def test_crop_loop_ends_without_pairs_and_takes_the_best_otherwise(mini_source):
    front = frame_after(mini_source, CROP)
    empty = frame_after(mini_source)
    empty.pairs = empty.need_pairs().where(empty.need_pairs().camera == 0)
    out = CROP(empty)  # the authors' loop would never end for camera 1
    assert out.need_pairs().counts(2)[1] == 0
    assert out.cameras[1].image.shape == (28, 48, 3)
    assert len(front.need_pairs()) > 0

    impossible = ResizedCropImages((28, 48), (0.3, 0.5), min_pairs=10**6, min_kept=1.0, tries=5)
    draws = []
    choose = impossible._choose

    def spy(rng, camera, pairs):
        state = rng.bit_generator.state
        boxes = [random_box(rng, 60, 100, (0.3, 0.5), impossible.ratio) for _ in range(5)]
        draws.append(max(len(pairs.crop_resize(box, (28, 48))) for box in boxes))
        rng.bit_generator.state = state
        return choose(rng, camera, pairs)

    impossible._choose = spy
    frame = frame_after(mini_source, impossible, seed=3)
    assert frame.need_pairs().counts(2).tolist() == draws


def test_random_boxes_stay_inside_and_keep_their_ranges():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(500):
        top, left, height, width = random_box(rng, 900, 1600, (0.3, 1.0), (14 / 9, 17 / 9))
        assert 0 <= top <= 900 - height
        assert 0 <= left <= 1600 - width
        assert 14 / 9 - 0.01 < width / height < 17 / 9 + 0.01
        shares.append(height * width / (900 * 1600))
    assert 0.29 < min(shares) < 0.35
    assert max(shares) > 0.9
    top, left, height, width = random_box(rng, 10, 1000, (1.0, 1.0), (1.0, 1.0))
    assert (top, left, height, width) == (0, 495, 10, 10)  # no draw fits: the centre


@pytest.mark.parametrize("compat", [False, True])
def test_labels_are_resized_to_the_nearest_pixel(compat):
    labels = np.random.default_rng(0).integers(0, 99, (37, 53))
    box, size = (3, 5, 29, 40), (11, 57)
    resized = resize_labels(labels, box, size, compat)
    half = 0.0 if compat else 0.5
    for row in range(11):
        for column in range(57):
            source = labels[3 + int((row + half) * 29 / 11), 5 + int((column + half) * 40 / 57)]
            assert resized[row, column] == source


def test_images_flip_and_camera_order_are_drawn_per_camera(mini_source):
    flipped, orders = set(), set()
    plain = frame_after(mini_source)
    for seed in range(12):
        frame = frame_after(mini_source, SampleCameras(), FlipImages(), seed=seed)
        orders.add(tuple(camera.name for camera in frame.cameras))
        by_name = {camera.name: camera for camera in frame.cameras}
        for camera in plain.cameras:
            mirrored = np.array_equal(by_name[camera.name].image, camera.image[:, ::-1])
            assert mirrored or np.array_equal(by_name[camera.name].image, camera.image)
            flipped.add((camera.name, mirrored))
    assert len(orders) == 2
    assert len(flipped) == 4


def test_same_seed_same_frame_whatever_came_before(mini_source):
    steps = [RotateFlipPoints(), DropCuboid(0.3, 10), CROP, FlipImages()]
    first, again = (frame_after(mini_source, *steps, seed=9) for _ in range(2))
    other = frame_after(mini_source, *steps, seed=10)
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.need_pairs().pixel_uv, again.need_pairs().pixel_uv)
    np.testing.assert_array_equal(first.cameras[0].image, again.cameras[0].image)
    assert first.points.shape != other.points.shape or (first.points != other.points).any()


def test_voxelize_features_and_pairs_inside(mini_source):
    grid = CartesianVoxels((0.5, 0.5, 0.5), (0, -20, -4, 20, 20, 4))
    frame = frame_after(
        mini_source, Voxelize(grid, ("x", "y", "z", "intensity", "rho"), "mean", 1 / 255)
    )
    voxels, pairs = frame.voxels, frame.need_pairs()
    assert voxels is not None
    assert (voxels.point_to_voxel[pairs.point] >= 0).all()
    assert set(pairs.camera.tolist()) == {0}  # the grid only holds what lies ahead
    assert len(frame.points) == 3000
    for voxel in range(0, len(voxels.coords), 37):
        own = frame.points[voxels.point_to_voxel == voxel].astype(np.float64)
        expected = [
            *own[:, :3].mean(0),
            own[:, 3].mean() / 255,
            np.hypot(own[:, 0], own[:, 1]).mean(),
        ]
        np.testing.assert_allclose(voxels.features[voxel], expected, rtol=1e-4, atol=1e-5)


def test_voxelize_first_takes_slidr_s_intensity(mini_source):
    frame = frame_after(mini_source, Voxelize(CylindricalVoxels()))
    voxels = frame.voxels
    assert voxels is not None
    assert voxels.features.shape == (len(voxels.coords), 1)
    first = [int(np.flatnonzero(voxels.point_to_voxel == v)[0]) for v in range(20)]
    np.testing.assert_array_equal(voxels.features[:20, 0], frame.points[first, 3])


def test_pack_normalises_as_torchvision_does(mini_source):
    plain = frame_after(mini_source, CROP, seed=2)
    packed = frame_after(mini_source, CROP, PackPairs(), seed=2)
    assert packed.images is not None
    assert packed.images.is_contiguous()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for camera, tensor in zip(plain.cameras, packed.images, strict=True):
        expected = (camera.image / 255.0 - mean) / std
        np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_compat_pairs_are_whole_pixels(mini_source):
    frame = frame_after(mini_source, load=[*LOAD[:-1], PairPoints(compat=True)])
    uv = frame.need_pairs().pixel_uv
    np.testing.assert_array_equal(uv, np.rint(uv))
    np.testing.assert_array_equal(uv, np.rint(frame_after(mini_source).need_pairs().pixel_uv))


def test_wrong_arguments_are_named(mini_source):
    with pytest.raises(ValueError, match="empty_camera"):
        PairPoints(empty_camera="maybe")
    with pytest.raises(ValueError, match="x', 'y', 'z', 'intensity', 'rho"):
        Voxelize(CylindricalVoxels(), ("reflectance",))
    with pytest.raises(ValueError, match="'first' or 'mean'"):
        Voxelize(CylindricalVoxels(), reduce="max")
    with pytest.raises(ValueError, match="tries"):
        ResizedCropImages(tries=0)
    with pytest.raises(ValueError, match="count"):
        SampleCameras(0)
    with pytest.raises(ValueError, match="put PairPoints"):
        frame_after(mini_source, CROP, load=LOAD[:-1])
    with pytest.raises(ValueError, match="LoadImages"):
        frame_after(mini_source, PackPairs(), load=[LoadPoints()])


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([PairPoints(), FlipImages(1.0), LoadImages()], r"put LoadImages\(\) before"),
        ([PairPoints(), FlipImages(1.0), LoadSuperpixels()], r"put LoadSuperpixels\(\) before"),
        ([LoadImages(), PairPoints(), PackPairs(), FlipImages()], r"PackPairs\(\) behind"),
        ([PairPoints(), Voxelize(CartesianVoxels()), KeepPairedPoints()], r"Voxelize\(\) behind"),
        ([Voxelize(CartesianVoxels()), RotateFlipPoints()], r"Voxelize\(\) behind"),
    ],
)
def test_steps_in_another_order_are_refused(steps, words, mini_source):
    """Pairs would name other pixels, or points other voxels, than they mean."""
    dataset = ImageLidarPairs(
        mini_source / "infos.pkl", mini_source, [LoadPoints(), *steps],
        superpixels_dir=mini_source / "slic",
    )  # fmt: skip
    with pytest.raises(ValueError, match=words):
        dataset[0]
