# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.geometry.boxes import (
    bottom_to_center,
    boxes_to_corners,
    center_to_bottom,
    kitti_to_lidar_boxes,
    lidar_to_kitti_boxes,
    points_in_boxes,
    transform_boxes,
    wrap_angle,
    yaw_of_rotation,
)
from lidistill.geometry.frames import (
    apply_transform,
    compose,
    make_transform,
    mirror,
    rotation_about_z,
)


def random_boxes(rng: np.random.Generator, count: int, columns: int = 7) -> np.ndarray:
    boxes = rng.normal(size=(count, columns)) * 5
    boxes[:, 3:6] = rng.uniform(0.5, 6, (count, 3))
    return boxes


def test_corners_equal_a_naive_loop():
    boxes = random_boxes(np.random.default_rng(0), 6)
    for box, corners in zip(boxes, boxes_to_corners(boxes), strict=True):
        x, y, z, length, width, height, yaw = box
        expected = []
        for up in (-1, 1):
            for along, across in ((1, 1), (-1, 1), (-1, -1), (1, -1)):
                dx, dy = along * length / 2, across * width / 2
                expected.append(
                    [
                        x + np.cos(yaw) * dx - np.sin(yaw) * dy,
                        y + np.sin(yaw) * dx + np.cos(yaw) * dy,
                        z + up * height / 2,
                    ]
                )
        np.testing.assert_allclose(corners, expected, atol=1e-12)


def test_membership_equals_a_naive_loop():
    rng = np.random.default_rng(1)
    boxes, points = random_boxes(rng, 5), (rng.normal(size=(400, 5)) * 3).astype(np.float32)
    boxes[:, :3] /= 4
    mask = points_in_boxes(points, boxes)
    for m, box in enumerate(boxes):
        cos, sin = np.cos(box[6]), np.sin(box[6])
        for n, point in enumerate(points.astype(np.float64)):
            dx, dy, dz = point[:3] - box[:3]
            inside = (
                abs(cos * dx + sin * dy) <= box[3] / 2
                and abs(-sin * dx + cos * dy) <= box[4] / 2
                and abs(dz) <= box[5] / 2
            )
            assert mask[n, m] == inside
    assert 20 < mask.sum() < mask.size


def test_faces_edges_and_corners_are_inside():
    boxes = np.array([[1.0, 2.0, 3.0, 4.0, 2.0, 1.0, 0.0]])
    faces = np.array([[3, 2, 3], [-1, 2, 3], [1, 3, 3], [1, 2, 3.5]], dtype=float)
    assert points_in_boxes(np.vstack([faces, boxes_to_corners(boxes)[0]]), boxes).all()
    assert not points_in_boxes(np.array([[3.0 + 1e-9, 2, 3]]), boxes).any()


def test_no_boxes_and_no_points():
    assert points_in_boxes(np.zeros((4, 3)), np.zeros((0, 7))).shape == (4, 0)
    assert points_in_boxes(np.zeros((0, 3)), np.zeros((2, 7))).shape == (0, 2)
    assert boxes_to_corners(np.zeros((0, 7))).shape == (0, 8, 3)


def test_transform_moves_corners_membership_and_velocity_with_the_frame():
    rng = np.random.default_rng(2)
    boxes = random_boxes(rng, 8, 9)
    target_from_source = compose(
        make_transform(np.eye(3), [10.0, -3.0, 1.0]), rotation_about_z(2.1)
    )
    moved = transform_boxes(target_from_source, boxes)
    np.testing.assert_allclose(
        boxes_to_corners(moved).reshape(-1, 3),
        apply_transform(target_from_source, boxes_to_corners(boxes).reshape(-1, 3)),
        atol=1e-9,
    )
    tip = np.c_[boxes[:, :2] + boxes[:, 7:9], boxes[:, 2]]
    np.testing.assert_allclose(
        moved[:, :2] + moved[:, 7:9], apply_transform(target_from_source, tip)[:, :2], atol=1e-9
    )


def test_a_mirrored_box_still_holds_the_mirrored_points():
    rng = np.random.default_rng(3)
    boxes, points = random_boxes(rng, 5), rng.normal(size=(300, 3)) * 5
    flip = compose(mirror((False, True, False)), rotation_about_z(0.4))
    np.testing.assert_array_equal(
        points_in_boxes(apply_transform(flip, points), transform_boxes(flip, boxes)),
        points_in_boxes(points, boxes),
    )


def test_bottom_and_center_are_inverse():
    boxes = random_boxes(np.random.default_rng(4), 3)
    np.testing.assert_allclose(center_to_bottom(bottom_to_center(boxes)), boxes)
    assert bottom_to_center(boxes)[:, 2] - boxes[:, 2] == pytest.approx(boxes[:, 5] / 2)


def test_kitti_labels_go_there_and_back():
    rng = np.random.default_rng(5)
    labels = np.c_[rng.uniform(1, 4, (6, 3)), rng.normal(size=(6, 3)) * 9, rng.uniform(-3, 3, 6)]
    camera_from_lidar = make_transform([[0, -1, 0], [0, 0, -1], [1, 0, 0]], [0.1, -0.2, -0.3])
    boxes = kitti_to_lidar_boxes(labels, np.linalg.inv(camera_from_lidar))
    back = lidar_to_kitti_boxes(boxes, camera_from_lidar)
    back[:, 6] = wrap_angle(back[:, 6])
    np.testing.assert_allclose(back, labels, atol=1e-9)


def test_wrap_angle_and_yaw_of_rotation():
    np.testing.assert_allclose(
        wrap_angle(np.array([np.pi, 3 * np.pi, -4.0])), [-np.pi, -np.pi, 2 * np.pi - 4]
    )
    for yaw in (-2.0, 0.0, 1.2, 3.1):
        assert yaw_of_rotation(rotation_about_z(yaw)[:3, :3]) == pytest.approx(yaw)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"boxes \(M, 7 or more\), got shape \(2, 5\)"):
        boxes_to_corners(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="xyz"):
        points_in_boxes(np.zeros((2, 2)), np.zeros((1, 7)))
