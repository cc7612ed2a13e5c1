# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from lidistill.datasets.frame import CameraView, Frame
from lidistill.geometry.correspondence import Pairs
from lidistill.io import NO_REGION
from lidistill.visualization import overlays
from lidistill.visualization.bev import BACKGROUND, bev_picture, bev_pixels
from lidistill.visualization.colours import region_colours, scalar_colours

RNG = np.random.default_rng(0)


def view(name, seed, height=12, width=20):
    rng = np.random.default_rng(seed)
    return CameraView(
        name=name,
        token=name,
        camera_from_lidar=np.eye(4),
        intrinsics=np.eye(3),
        height=height,
        width=width,
        image_path=Path("x.jpg"),
        image=rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        superpixels=rng.integers(0, 5, (height, width)).astype(np.int32),
    )


@pytest.fixture
def frame():
    """Two cameras; point 0 in the first, 1 in the second, 2 in both, 3 in none."""
    made = Frame("t", "s", Path("x.bin"), 4, None, np.random.default_rng(0), np.zeros((4, 4), "f4"))
    made.cameras = [view("CAM_FRONT", 1), view("CAM_BACK", 2)]
    made.pairs = Pairs(
        np.array([0, 2, 1, 2]),
        np.array([0, 0, 1, 1]),
        np.array([[3.2, 4.0], [7.0, 2.6], [11.0, 5.0], [1.0, 1.0]]),
    )
    return made


def test_region_colours():
    colours = region_colours(np.array([[0, 1], [-1, 0]]))
    assert colours.shape == (2, 2, 3)
    assert (colours[0, 0] == colours[1, 1]).all()
    assert colours[1, 0].tolist() == [70, 76, 90]
    neighbours = region_colours(np.arange(200)).astype(int)
    assert np.abs(np.diff(neighbours, axis=0)).sum(axis=1).min() > 60
    assert region_colours(np.array([-1, 3])).tolist() == region_colours(np.array([-1, 3])).tolist()


def test_scalar_colours():
    colours = scalar_colours(np.array([0.0, 5.0, 10.0, np.nan, 99.0]), 0, 10, "viridis").astype(int)
    assert (colours[0] == colours[3]).all()
    assert (colours[2] == colours[4]).all()
    assert colours[0].sum() < colours[1].sum() < colours[2].sum()  # viridis gets lighter
    assert colours[2][2] < colours[2][0]  # its end is yellow: RGB, not BGR
    assert scalar_colours(np.full(3, np.nan)).shape == (3, 3)
    assert scalar_colours(np.full(3, 7.0)).shape == (3, 3)
    with pytest.raises(ValueError, match="unknown colour map 'jet'; known: turbo"):
        scalar_colours(np.zeros(2), name="jet")


@pytest.mark.parametrize("scale", [1, 3])
def test_border_mask_equals_a_naive_loop(scale):
    labels = RNG.integers(0, 3, (7, 9))
    large = np.kron(labels, np.ones((scale, scale), dtype=int))
    height, width = large.shape
    expected = np.zeros((height, width), dtype=bool)
    for r in range(height):
        for c in range(width):
            right = c + 1 < width and large[r, c] != large[r, c + 1]
            below = r + 1 < height and large[r, c] != large[r + 1, c]
            expected[r, c] = right or below
    np.testing.assert_array_equal(overlays.border_mask(labels, scale), expected)


def test_superpixel_borders_change_borders_only():
    image = RNG.integers(0, 200, (6, 8, 3)).astype(np.uint8)
    labels = np.zeros((6, 8), dtype=np.int32)
    labels[:, 4:] = 300  # beyond 8 bit
    before = image.copy()
    picture = overlays.superpixel_borders(image, labels, (255, 255, 255), opacity=1.0)
    assert (picture[:, 3] == 255).all()
    np.testing.assert_array_equal(np.delete(picture, 3, 1), np.delete(image, 3, 1))
    np.testing.assert_array_equal(image, before)
    assert overlays.superpixel_borders(image, labels, scale=2).shape == (12, 16, 3)
    with pytest.raises(ValueError, match=r"image \(6, 8\) and superpixels \(3, 3\) differ"):
        overlays.superpixel_borders(image, labels[:3, :3])


def test_superpixel_means_equal_a_naive_loop():
    image = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    labels = RNG.choice([2, 70, 900], (6, 8))
    means = overlays.superpixel_means(image, labels)
    for label in (2, 70, 900):
        expected = image[labels == label].mean(axis=0).round()
        assert (means[labels == label] == expected).all()


def test_draw_points():
    black = np.zeros((20, 30, 3), dtype=np.uint8)
    colours = np.array([[255, 0, 0], [0, 255, 0]])
    picture = overlays.draw_points(black, np.array([[5.0, 8.0], [5.0, 8.0]]), colours, 2)
    assert picture[8, 5].tolist() == [0, 255, 0]  # row v, column u; the later one on top
    assert not black.any()
    rows, columns = np.nonzero(picture.any(axis=2))
    assert (rows.mean(), columns.mean()) == pytest.approx((8, 5), abs=0.5)
    outside = overlays.draw_points(black, np.array([[-50.0, 4.0]]), colours[:1])
    assert not outside.any()
    assert not overlays.draw_points(black, np.zeros((0, 2)), np.zeros((0, 3))).any()
    with pytest.raises(ValueError, match="2 pixels but 1 colours"):
        overlays.draw_points(black, np.zeros((2, 2)), colours[:1])


def test_paired_regions_equal_a_naive_loop(frame):
    expected = [-1] * 4
    offset = 0
    for camera, cam in enumerate(frame.cameras):
        for p in range(len(frame.pairs)):
            if frame.pairs.camera[p] == camera:
                u, v = frame.pairs.pixel_uv[p]
                expected[frame.pairs.point[p]] = offset + cam.superpixels[round(v), round(u)]
        offset += cam.superpixels.max() + 1
    got = overlays.paired_regions(frame)
    assert got.tolist() == expected
    assert got[3] == -1


def test_pixels_in_no_superpixel_are_grey(frame):
    """Imported masks leave pixels out (65535 in the store): no region has their points."""
    for camera in frame.cameras:
        camera.superpixels = camera.superpixels.astype(np.uint16)
    free = overlays.paired_regions(frame)
    frame.cameras[1].superpixels[5, 11] = NO_REGION  # of point 1
    regions = overlays.paired_regions(frame)
    assert regions.tolist() == [free[0], -1, free[2], -1]
    picture = overlays.paired_picture(frame, 1, scale=4)
    assert picture[22, 46].tolist() == region_colours(np.array([-1]))[0].tolist()


def test_paired_picture_has_the_superpixels_colour_at_the_point(frame):
    picture = overlays.paired_picture(frame, 0, scale=4)
    assert picture.shape == (48, 80, 3)
    label = frame.cameras[0].superpixels[4, 3]
    u, v = ((np.array([3.2, 4.0]) + 0.5) * 4 - 0.5).round().astype(int)
    assert picture[v, u].tolist() == region_colours(np.array([label]))[0].tolist()
    assert overlays.superpixel_picture(frame.cameras[0], scale=2).shape == (24, 40, 3)


def test_pictures_of_a_frame_that_is_not_loaded(frame):
    frame.cameras[0].superpixels = None
    with pytest.raises(ValueError, match=r"CAM_FRONT has no image or no superpixels.*LoadSuper"):
        overlays.paired_picture(frame, 0)
    frame.pairs = None
    with pytest.raises(ValueError, match="no pairs yet"):
        overlays.paired_regions(frame)


def test_contact_sheet():
    images = [np.full((4, 6, 3), n, dtype=np.uint8) for n in (1, 2, 3)]
    sheet = overlays.contact_sheet(images, columns=2, gap=1, background=(9, 9, 9))
    assert sheet.shape == (9, 13, 3)
    assert (sheet[:4, :6] == 1).all()
    assert (sheet[:4, 7:] == 2).all()
    assert (sheet[5:, :6] == 3).all()
    assert (sheet[5:, 7:] == 9).all()
    assert (sheet[4] == 9).all()
    with pytest.raises(ValueError, match="images of one size"):
        overlays.contact_sheet([images[0], images[1][:2]], 2)
    with pytest.raises(ValueError, match="images of one size"):
        overlays.contact_sheet([], 2)


def test_before_after():
    a, b = np.full((4, 6, 3), 1, dtype=np.uint8), np.full((8, 6, 3), 2, dtype=np.uint8)
    both = overlays.before_after(a, b, gap=2)
    assert both.shape == (4, 6 + 2 + 3, 3)
    assert (both[:, -3:] == 2).all()


def test_convention_bev_pixels():
    ahead_left = np.array([[-10.0, 20.0, 0.0]])  # nuScenes LiDAR frame: x right, y forward
    (u, v) = bev_pixels(ahead_left, reach=40, size=80, forward="y")[0]
    assert (u, v) == (29.5, 19.5)
    same = np.array([[20.0, 10.0, 0.0]])  # ego frame: x forward, y left
    assert bev_pixels(same, reach=40, size=80, forward="x")[0].tolist() == [29.5, 19.5]
    with pytest.raises(ValueError, match="forward must be 'x' or 'y', got 'z'"):
        bev_pixels(same, 40, 80, "z")


def test_bev_picture_draws_higher_points_on_top():
    points = np.array([[5.0, 5, 2, 0], [5, 5, -1, 0], [500, 0, 0, 0]])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    picture = bev_picture(points, colours, reach=10, size=101, radius=2, rings=0)
    u, v = bev_pixels(points[:1], 10, 101)[0].round().astype(int)
    assert picture[v, u].tolist() == [255, 0, 0]
    assert not (picture == [0, 0, 255]).all(axis=2).any()
    assert picture[0, 0].tolist() == list(BACKGROUND)
    assert picture[50, 50].tolist() != list(BACKGROUND)  # the vehicle
    with pytest.raises(ValueError, match="3 points but 2 colours"):
        bev_picture(points, colours[:2])


def test_bev_picture_equals_a_naive_loop():
    points = RNG.uniform(-10, 10, (60, 3))
    colours = RNG.integers(0, 256, (60, 3)).astype(np.uint8)
    ours = bev_picture(points, colours, reach=10, size=64, radius=1.5, rings=0).astype(int)
    fine = np.full((128, 128, 3), BACKGROUND, dtype=float)
    for i in np.argsort(points[:, 2]):
        u, v = (int(np.rint(x)) for x in bev_pixels(points[i : i + 1], 10, 128)[0])
        for r in range(max(0, v - 3), min(128, v + 4)):
            for c in range(max(0, u - 3), min(128, u + 4)):
                if (r - v) ** 2 + (c - u) ** 2 <= 9:
                    fine[r, c] = colours[i]
    naive = fine.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    away = np.ones((64, 64), dtype=bool)
    away[20:44, 20:44] = False  # the vehicle is drawn over the middle
    assert np.abs(ours - naive)[away].max() <= 1


def test_bev_picture_of_nothing():
    assert bev_picture(np.zeros((0, 3)), np.zeros((0, 3)), size=50).shape == (50, 50, 3)
