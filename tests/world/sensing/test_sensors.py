# SPDX-License-Identifier: Apache-2.0
"""Rigs: directions, azimuth intervals, and calibrations that agree with themselves."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.world.sensing import sensors as se


@pytest.mark.parametrize(
    "camera", [*se.nuscenes_cameras(160), se.kitti_camera()], ids=lambda c: c.name
)
def test_rays_pass_through_their_pixels(camera):
    rays = camera.table.rays[::37, ::29, :3]
    in_camera = rays @ camera.ego_from_camera[:3, :3]
    pixels = in_camera @ camera.intrinsics.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    u, v = np.meshgrid(np.arange(camera.width)[::37], np.arange(camera.height)[::29], indexing="ij")
    np.testing.assert_allclose(pixels[..., 0], u, atol=1e-8)
    np.testing.assert_allclose(pixels[..., 1], v, atol=1e-8)


@pytest.mark.parametrize(
    "table",
    [se.nuscenes_lidar(60).table, se.kitti_lidar(60).table, se.nuscenes_cameras(80)[3].table],
    ids=["nuscenes", "kitti", "back camera"],
)
def test_azimuth_intervals_hold_every_ray(table):
    azimuth = np.arctan2(table.rays[..., 1], table.rays[..., 0])
    turn = np.remainder(azimuth - table.fan[:, :1] + np.pi, 2 * np.pi) - np.pi
    assert (np.abs(turn) <= table.fan[:, 1:]).all()
    assert table.fan[:, 1].max() < 0.1  # narrow: cameras are nearly level
    np.testing.assert_allclose(np.linalg.norm(table.rays[..., :3], axis=-1), 1.0)
    np.testing.assert_allclose(table.rays[..., 4] * table.rays[..., 3], table.rays[..., 2])


def test_nuscenes_rig():
    cameras = {camera.name: camera for camera in se.nuscenes_cameras(400)}
    assert len(cameras) == 6
    yaw = {n: np.degrees(np.arctan2(*c.ego_from_camera[[1, 0], 2])) for n, c in cameras.items()}
    assert yaw["CAM_FRONT"] == pytest.approx(0.3, abs=0.1)
    assert yaw["CAM_BACK_LEFT"] == pytest.approx(108.6, abs=0.1)
    assert cameras["CAM_BACK"].intrinsics[0, 0] == pytest.approx(809 / 4)
    assert all(c.width == 400 and c.height == 225 and -0.05 < c.delay < 0 for c in cameras.values())
    lidar = se.nuscenes_lidar()
    np.testing.assert_allclose(lidar.ego_from_lidar[:3, :3] @ [0, 1, 0], [1, 0, 0], atol=1e-12)


def test_kitti_projection_of_velodyne_points_hits_the_cameras_rays():
    """P2 R0 Tr (what users compute) and the camera's ray table (what is drawn) are one geometry."""
    calibration, camera = se.kitti_calibration(), se.kitti_camera()
    centre = camera.ego_from_camera[:3, 3]
    for u, v in ((0, 0), (600, 170), (1241, 374), (100, 300)):
        point = centre + 17.0 * camera.table.rays[u, v, :3] - [0, 0, se.VELODYNE_HEIGHT]
        rect = calibration["R0_rect"] @ calibration["Tr_velo_to_cam"] @ [*point, 1.0]
        pixel = calibration["P2"] @ rect
        np.testing.assert_allclose(pixel[:2] / pixel[2], [u, v], atol=1e-8)


def test_kitti_rig():
    calibration = se.kitti_calibration()
    for name in ("R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo"):
        turn = calibration[name][:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)
    assert calibration["P2"][0, 3] == pytest.approx(44.857, abs=1e-3)
    assert np.degrees(np.arccos(np.trace(calibration["R0_rect"][:3, :3]) / 2 - 0.5)) < 1.0
    elevation = np.degrees(se.kitti_lidar().elevation)
    assert elevation[0] == pytest.approx(2.0)
    assert elevation[-1] == pytest.approx(-24.8)
    assert (np.diff(elevation) < 0).all()
    height = se.kitti_camera().ego_from_camera[2, 3]
    assert height == pytest.approx(1.65, abs=0.03)


def test_rotation_turns_about_z_then_y_then_x():
    np.testing.assert_allclose(se.rotation(np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(se.rotation(0, np.pi / 2) @ [1, 0, 0], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(se.rotation(0, 0, np.pi / 2) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
