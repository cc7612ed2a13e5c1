# SPDX-License-Identifier: Apache-2.0
"""Point clouds for detectors and segmentors: one reader, with the same checks for all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.info_paths import frame_token
from lidistill.registry import TRANSFORMS

LOGGER = logging.getLogger("lidistill.points")
FIX_RAW = (
    "check that data_root is the dataset's folder (lidistill doctor) and that this file is whole. "
    + io.FILE_AGAIN
)


class PointReader:
    """Reads clouds; points with NaN or infinity are errors, or are left out and counted.

    Args:
        nonfinite: ``"error"``, or ``"drop"`` to leave such points out: their number is logged for
            the 1st, 10th, 100th, ... file of each worker process.
    """

    def __init__(self, nonfinite: str = "error") -> None:
        if nonfinite not in ("error", "drop"):
            raise ValueError(f"nonfinite: expected 'error' or 'drop', got {nonfinite!r}")
        self.nonfinite = nonfinite
        self.files = self.dropped = 0

    def __call__(
        self, path: Path, width: int, token: str | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Points (N, width) float32, and the row of each in the file (N,)."""
        mode: io.NonFinite = "error" if self.nonfinite == "error" else "keep"
        points = io.read_points(path, width, token, FIX_RAW, mode)
        index = np.arange(len(points))
        if mode == "keep":
            keep = io.finite_rows(points)
            if not keep.all():
                points, index = points[keep], index[keep]
                self._count(len(keep) - len(points), path)
        return points, index

    def _count(self, dropped: int, path: Path) -> None:
        self.files += 1
        self.dropped += dropped
        if str(self.files).strip("0") == "1":
            LOGGER.warning(
                "left out %d points with NaN or infinity, of %d files so far, the last one %s",
                self.dropped,
                self.files,
                path,
            )


def _metres(points: NDArray[np.float32]) -> Any:
    from mmdet3d.structures.points import LiDARPoints

    return LiDARPoints(points, points_dim=points.shape[-1])


def _columns(use_dim: int | Sequence[int], load_dim: int) -> list[int]:
    columns = list(range(use_dim)) if isinstance(use_dim, int) else list(use_dim)
    if not columns or max(columns) >= load_dim or min(columns) < 0:
        raise ValueError(f"use_dim: expected columns of 0..{load_dim - 1}, got {use_dim!r}")
    return columns


@TRANSFORMS.register_module()
class LoadCheckedPoints:
    """mmdet3d's ``LoadPointsFromFile`` for LiDAR clouds, through our reader and its checks.

    Args:
        load_dim: columns of the file; the info file must say the same.
        use_dim: columns to keep, or the first so many.
        nonfinite: see :class:`PointReader`.
    """

    def __init__(
        self, load_dim: int, use_dim: int | Sequence[int], nonfinite: str = "error"
    ) -> None:
        self.load_dim, self.use_dim = load_dim, _columns(use_dim, load_dim)
        self.read = PointReader(nonfinite)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``points`` of mmdet3d's sample."""
        record, token = results["lidar_points"], frame_token(results)
        path = Path(record["lidar_path"])
        fits(record, self.load_dim, path, token)
        points, _ = self.read(path, self.load_dim, token)
        results["points"] = _metres(points[:, self.use_dim])
        return results


@TRANSFORMS.register_module()
class LoadCheckedSweeps:
    """mmdet3d's ``LoadPointsFromMultiSweeps``, through our reader and its checks.

    Same points in the same order for the same state of numpy's global generator, but where the
    vehicle turned: mmdet3d 1.x rotates a sweep before it takes off the translation that comes
    first (its issue 3054), which moves the points by 0.8 m after half a second in a bend.

    Args:
        sweeps_num: sweeps added to the keyframe.
        load_dim: columns of the files.
        use_dim: columns to keep of all points; the fifth becomes seconds before the keyframe.
        pad_empty_sweeps: repeat the keyframe where a sample has no sweeps.
        remove_close: leave out points of sweeps within a square of 1 m around the sensor.
        test_mode: take the nearest sweeps in place of random ones.
        nonfinite: see :class:`PointReader`.
        compat: "" or "mmdet3d", whose points in bends a network trained there may be used to.
    """

    def __init__(
        self,
        sweeps_num: int = 10,
        load_dim: int = 5,
        use_dim: int | Sequence[int] = (0, 1, 2, 4),
        pad_empty_sweeps: bool = False,
        remove_close: bool = False,
        test_mode: bool = False,
        nonfinite: str = "error",
        compat: str = "",
    ) -> None:
        if compat not in ("", "mmdet3d"):
            raise ValueError(f"compat: expected '' or 'mmdet3d', got {compat!r}")
        self.compat = compat
        self.sweeps_num, self.load_dim = sweeps_num, load_dim
        self.use_dim = _columns(use_dim, load_dim)
        self.pad_empty_sweeps, self.remove_close = pad_empty_sweeps, remove_close
        self.test_mode = test_mode
        self.read = PointReader(nonfinite)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the sweeps to ``points`` of mmdet3d's sample.

        Raises:
            ValueError: the scene was moved already; sweeps would stay where they were.
        """
        if "lidar_aug_matrix" in results or "transformation_3d_flow" in results:
            raise ValueError(
                "the scene is augmented already; put LoadCheckedSweeps before AugmentBEV, "
                "GlobalRotScaleTrans and RandomFlip3D"
            )
        points = results["points"]
        points.tensor[:, 4] = 0
        clouds = [points]
        if "lidar_sweeps" in results:
            sweeps = results["lidar_sweeps"]
            chosen = [sweeps[index] for index in self._pick(sweeps)]
            clouds += [points.new_point(self._sweep(sweep, results)) for sweep in chosen]
        elif self.pad_empty_sweeps:
            clouds += [points[self._far(points.numpy())]] * self.sweeps_num
        results["points"] = points.cat(clouds)[:, self.use_dim]
        return results

    def _pick(self, sweeps: Sequence[Any]) -> NDArray[np.int64]:
        if len(sweeps) <= self.sweeps_num:
            return np.arange(len(sweeps))
        if self.test_mode:
            return np.arange(self.sweeps_num)
        # the global generator: as mmdet3d draws, seeded by SeededDetections
        return np.random.choice(len(sweeps), self.sweeps_num, replace=False)  # noqa: NPY002

    def _sweep(self, sweep: Mapping[str, Any], results: Mapping[str, Any]) -> NDArray[np.float32]:
        """One sweep (N, load_dim) in the keyframe's LiDAR frame, time in its fifth column."""
        record = sweep["lidar_points"]
        points, _ = self.read(Path(record["lidar_path"]), self.load_dim, frame_token(results))
        points = points[self._far(points)]
        lidar2sensor = np.array(record["lidar2sensor"])
        rotation, translation = lidar2sensor[:3, :3], lidar2sensor[:3, 3]
        if self.compat == "mmdet3d":
            points[:, :3] = points[:, :3] @ rotation
            points[:, :3] -= translation
        else:
            points[:, :3] = (points[:, :3] - translation) @ rotation
        points[:, 4] = results["timestamp"] - sweep["timestamp"]
        return points

    def _far(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        if not self.remove_close:
            return np.ones(len(points), dtype=bool)
        return ~((np.abs(points[:, 0]) < 1.0) & (np.abs(points[:, 1]) < 1.0))


def fits(record: Mapping[str, Any], load_dim: int, path: Path, token: str) -> None:
    """The info file must say as many columns as the config reads.

    Raises:
        DataError: It says another number.
    """
    columns = record.get("num_pts_feats", load_dim)
    if columns != load_dim:
        raise io.DataError(
            f"The config reads {load_dim} values per point (load_dim), but the info file says that "
            f"this file has {columns}.",
            path=path,
            token=token,
            fix="set load_dim of the transform that loads points (load_points of the config), or "
            "make the info file again with the right number of columns.",
        )
