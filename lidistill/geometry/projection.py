# SPDX-License-Identifier: Apache-2.0
"""LiDAR points to pixels, for all cameras at once, in float64 and with one transform a camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidistill.geometry.correspondence import Pairs
from lidistill.geometry.frames import compose, invert
from lidistill.jit import njit


def camera_from_lidar(
    camera_to_ego: NDArray,
    ego_to_global_camera: NDArray,
    ego_to_global_lidar: NDArray,
    lidar_to_ego: NDArray,
) -> NDArray[np.float64]:
    """One rigid transform for the chain lidar, ego at the sweep, global, ego at the image, camera.

    The vehicle moves between the sweep and each image, so the two ego poses differ. Global
    coordinates are of the order of a kilometre; composing first keeps them out of the points.

    Args:
        camera_to_ego: (..., 4, 4) pose of the camera.
        ego_to_global_camera: (..., 4, 4) pose of the vehicle when the image was taken.
        ego_to_global_lidar: (4, 4) pose of the vehicle when the sweep was taken.
        lidar_to_ego: (4, 4) pose of the LiDAR.

    Returns:
        (..., 4, 4) float64.
    """
    return compose(
        invert(camera_to_ego), invert(ego_to_global_camera), ego_to_global_lidar, lidar_to_ego
    )


def split_projection(
    cam2img: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intrinsics (3, 3) and a (4, 4) shift of the camera whose product is a projection matrix.

    KITTI's P2 holds the offset from the rectified reference camera in its fourth column:
    ``P = K [I | t]``.

    Args:
        cam2img: (3, 3), (3, 4) or (4, 4).
    """
    shift = np.eye(4)
    if cam2img.shape[1] == 4:
        shift[:3, 3] = np.linalg.solve(cam2img[:3, :3], cam2img[:3, 3])
    return cam2img[:3, :3], shift


def project(
    xyz: NDArray, camera_from_lidar: NDArray, intrinsics: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels and depths of points in one camera, whether or not it sees them.

    Args:
        xyz: (N, 3) metres, LiDAR frame.
        camera_from_lidar: (4, 4).
        intrinsics: (3, 3), last row (0, 0, 1).

    Returns:
        (N, 2) float64 pixel_uv (integers are pixel centres; meaningless where depth <= 0), and
        (N,) float64 depth along the optical axis in metres.
    """
    matrix = np.asarray(intrinsics, dtype=np.float64) @ np.asarray(camera_from_lidar)[:3]
    pixels = np.asarray(xyz, dtype=np.float64) @ matrix[:, :3].T + matrix[:, 3]
    depth = pixels[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return pixels[:, :2] / depth[:, None], depth


def pair_points(
    points_xyz: NDArray,
    camera_from_lidar: NDArray,
    intrinsics: NDArray,
    image_hw: ArrayLike,
    min_depth: float = 1.0,
    occlusion: bool = False,
) -> Pairs:
    """Pairs of points and the pixels that they project to, camera after camera.

    A point pairs with a camera iff its depth is over ``min_depth`` and ``0 < u < W - 1``,
    ``0 < v < H - 1`` (strict). A point seen by two cameras is in two pairs.

    Args:
        points_xyz: (N, 3+) metres, LiDAR frame; further columns are ignored.
        camera_from_lidar: (K, 4, 4), see `camera_from_lidar` for moving vehicles.
        intrinsics: (K, 3, 3), last row (0, 0, 1).
        image_hw: (K, 2) rows and columns of each image, or (2,) for all.
        min_depth: Metres along the optical axis.
        occlusion: Also drop points behind nearer ones, see `visible`.

    Returns:
        Pairs ordered by camera, then by point.

    Raises:
        ValueError: On other shapes or an intrinsic matrix that is not affine.

    Source: SLidR (2203.16258) section 3.1, data loader of the release.
    Differs from the authors' release: theirs moves the float32 cloud through eight steps, with
    global coordinates between; 0.1 to 0.7 % of its pixels are one off. The set of (point, camera)
    is the same.
    """
    transforms = np.asarray(camera_from_lidar, dtype=np.float64)
    matrices = np.asarray(intrinsics, dtype=np.float64)
    num = len(transforms)
    _check_shapes(points_xyz, transforms, matrices)
    sizes = np.broadcast_to(np.asarray(image_hw, dtype=np.int64), (num, 2))
    parts = []
    for camera in range(num):
        projection = matrices[camera] @ transforms[camera, :3]
        point, uv, depth = _project_visible(
            points_xyz, projection, float(sizes[camera, 0]), float(sizes[camera, 1]), min_depth
        )
        pairs = Pairs(point, np.full(len(point), camera, dtype=np.int64), uv)
        if occlusion:
            pairs = pairs.where(visible(uv, depth, float(matrices[camera, 0, 0])))
        parts.append(pairs)
    return Pairs.concatenate(parts)


def visible(
    pixel_uv: NDArray,
    depth: NDArray,
    focal: float,
    window_deg: tuple[float, float] = (0.5, 1.4),
    nearer: float = 0.6,
) -> NDArray[np.bool_]:
    """Which points of one camera are not hidden behind a much nearer one (z-buffer test).

    The LiDAR stands higher than the cameras and so sees over cars and walls. The image is cut into
    windows as wide as a few beams and as tall as the gap between two rings; a point is hidden where
    its window holds a point at less than ``nearer`` times its depth. Sparse rings make this a
    filter for gross errors; the factor is low so that slanted ground stays.

    Args:
        pixel_uv: (P, 2).
        depth: (P,) metres, positive.
        focal: Focal length in pixels, turns degrees into pixels.
        window_deg: Width and height of a window, degrees.
        nearer: Fraction of the depth.

    Returns:
        (P,) bool.
    """
    if len(depth) == 0:
        return np.zeros(0, dtype=bool)
    window = np.maximum(1.0, np.deg2rad(window_deg) * focal)
    cells = np.floor_divide(pixel_uv, window).astype(np.int64)
    cells -= cells.min(axis=0)
    cell = cells[:, 1] * (cells[:, 0].max() + 1) + cells[:, 0]
    nearest = np.full(int(cell.max()) + 1, np.inf)
    np.minimum.at(nearest, cell, depth)
    return np.asarray(nearest[cell] >= nearer * depth)


def _check_shapes(points: NDArray, transforms: NDArray, matrices: NDArray) -> None:
    num = len(transforms)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"expected points_xyz (N, 3 or more), got shape {points.shape}")
    if transforms.shape != (num, 4, 4) or matrices.shape != (num, 3, 3):
        raise ValueError(
            "expected camera_from_lidar (K, 4, 4) and intrinsics (K, 3, 3), "
            f"got {transforms.shape} and {matrices.shape}"
        )
    if not np.array_equal(matrices[:, 2], np.broadcast_to([0.0, 0.0, 1.0], (num, 3))):
        raise ValueError(f"expected intrinsics with last row (0, 0, 1), got {matrices[:, 2]}")


@njit
def _project_visible(points, projection, height, width, min_depth):  # type: ignore[no-untyped-def]
    """Rows, pixels and depths of the points inside one image, in one pass over the cloud."""
    num = points.shape[0]
    p = projection
    rows = np.empty(num, np.int64)
    uv = np.empty((num, 2), np.float64)
    depths = np.empty(num, np.float64)
    count = 0
    for i in range(num):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        depth = p[2, 0] * x + p[2, 1] * y + p[2, 2] * z + p[2, 3]
        if not depth > min_depth:
            continue
        u = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) / depth
        v = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) / depth
        if u > 0.0 and u < width - 1.0 and v > 0.0 and v < height - 1.0:
            rows[count] = i
            uv[count, 0] = u
            uv[count, 1] = v
            depths[count] = depth
            count += 1
    return rows[:count], uv[:count], depths[:count]
