# SPDX-License-Identifier: Apache-2.0
"""Detectors read points through the same checks as all others: the same points as mmdet3d's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidistill import compat
from lidistill.datasets.frame import Frame
from lidistill.datasets.loading import LoadPoints
from lidistill.datasets.point_files import LoadCheckedPoints, LoadCheckedSweeps, PointReader
from lidistill.io import DataError
from tests.datasets.mini import points_of

compat.apply()
from mmdet3d.datasets.transforms import (  # noqa: E402
    LoadPointsFromFile,
    LoadPointsFromMultiSweeps,
)


def write(path: Path, seed: int, count: int = 600) -> str:
    points = points_of(np.random.default_rng(seed), count)
    points[:50, :2] *= 0.05  # near the sensor
    points.tofile(path)
    return str(path)


def sample(folder: Path, sweeps: int | None = 3) -> dict[str, Any]:
    """As mmdet3d's NuScenesDataset hands it to a pipeline."""
    results: dict[str, Any] = {
        "token": "t1",
        "timestamp": 10.0,
        "lidar_points": {"lidar_path": write(folder / "key.bin", 0), "num_pts_feats": 5},
    }
    if sweeps is not None:
        turn = np.array([[0.8, -0.6, 0, 1], [0.6, 0.8, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
        results["lidar_sweeps"] = [
            {
                "timestamp": 10.0 - 0.05 * (index + 1),
                "lidar_points": {
                    "lidar_path": write(folder / f"sweep{index}.bin", index + 1),
                    "lidar2sensor": turn.tolist(),
                },
            }
            for index in range(sweeps)
        ]
    return results


@pytest.mark.parametrize("use_dim", [5, [0, 1, 2, 3], [0, 1, 2, 4]])
def test_points_of_mmdet3d(tmp_path: Path, use_dim: Any) -> None:
    theirs = LoadPointsFromFile("LIDAR", load_dim=5, use_dim=use_dim)(sample(tmp_path))["points"]
    ours = LoadCheckedPoints(load_dim=5, use_dim=use_dim)(sample(tmp_path))["points"]
    assert type(ours) is type(theirs)
    assert np.array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("sweeps", [None, 0, 2, 6])
@pytest.mark.parametrize(
    "options",
    [
        {"pad_empty_sweeps": True, "remove_close": True},
        {"pad_empty_sweeps": True},
        {"remove_close": True, "test_mode": True},
    ],
    ids=str,
)
def test_sweeps_of_mmdet3d(tmp_path: Path, sweeps: int | None, options: dict[str, bool]) -> None:
    clouds = []
    for load, add, more in (
        (LoadPointsFromFile("LIDAR", 5, 5), LoadPointsFromMultiSweeps, {}),
        (LoadCheckedPoints(5, 5), LoadCheckedSweeps, {"compat": "mmdet3d"}),
    ):
        np.random.seed(3)  # noqa: NPY002 -- mmdet3d draws from it
        step = add(sweeps_num=4, use_dim=[0, 1, 2, 4], **options, **more)
        clouds.append(step(load(sample(tmp_path, sweeps)))["points"].numpy())
    assert np.array_equal(*clouds)


def test_a_sweep_lies_where_its_pose_says(tmp_path: Path) -> None:
    """Where the vehicle turned mmdet3d's do not; the oracle inverts the pose."""
    results = sample(tmp_path, sweeps=1)
    pose = np.linalg.inv(results["lidar_sweeps"][0]["lidar_points"]["lidar2sensor"])
    points = np.fromfile(tmp_path / "sweep0.bin", "<f4").reshape(-1, 5)
    expected = np.array([(pose @ [*point[:3], 1])[:3] for point in points])
    out = LoadCheckedSweeps(use_dim=3)(LoadCheckedPoints(5, 5)(results))["points"].numpy()
    assert np.allclose(out[600:], expected, atol=1e-5)


def test_sweeps_know_one_other_way() -> None:
    with pytest.raises(ValueError, match=r"compat: expected '' or 'mmdet3d', got 'released'"):
        LoadCheckedSweeps(compat="released")


@pytest.mark.parametrize("name", ["key.bin", "sweep1.bin"])
def test_points_that_are_not_finite_are_an_error_in_every_file(tmp_path: Path, name: str) -> None:
    results = sample(tmp_path)
    points = np.fromfile(tmp_path / name, "<f4").reshape(-1, 5)
    points[::50, 3] = np.nan
    points.tofile(tmp_path / name)
    with pytest.raises(DataError, match=rf"(?s)12 of 600 points.*index 0.*{name}.*t1.*'drop'"):
        LoadCheckedSweeps()(LoadCheckedPoints(5, 5)(results))


def test_points_are_dropped_on_request_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = sample(tmp_path, sweeps=1)
    for name in ("key.bin", "sweep0.bin"):
        points = np.fromfile(tmp_path / name, "<f4").reshape(-1, 5)
        points[::50, 3] = np.nan
        points.tofile(tmp_path / name)
    steps = [LoadCheckedPoints(5, 5, nonfinite="drop"), LoadCheckedSweeps(nonfinite="drop")]
    with caplog.at_level(logging.WARNING, "lidistill.points"):
        for step in steps:
            results = step(results)
    assert len(results["points"]) == 2 * (600 - 12)
    assert np.isfinite(results["points"].numpy()).all()
    assert [step.read.dropped for step in steps] == [12, 12]
    assert [record.args[0] for record in caplog.records] == [12, 12]


def test_rows_of_the_file_survive_a_drop(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.bin", 0))
    points = np.fromfile(path, "<f4").reshape(-1, 5)
    points[[3, 7], 0] = np.inf
    points.tofile(path)
    rng = np.random.default_rng(0)
    frame = Frame("t1", "", path, 5, None, rng, np.zeros((0, 5), np.float32))
    LoadPoints(nonfinite="drop")(frame)
    assert np.array_equal(frame.points, points[frame.point_index])
    assert sorted({*range(600)} - {*frame.point_index.tolist()}) == [3, 7]


def test_the_log_gets_rarer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = Path(write(tmp_path / "a.bin", 0))
    points = np.fromfile(path, "<f4").reshape(-1, 5)
    points[0, 0] = np.nan
    points.tofile(path)
    read = PointReader("drop")
    with caplog.at_level(logging.WARNING, "lidistill.points"):
        for _ in range(120):
            read(path, 5, "t1")
    assert [record.args[0] for record in caplog.records] == [1, 10, 100]


def test_columns_of_config_and_info_file_must_agree(tmp_path: Path) -> None:
    results = sample(tmp_path)
    with pytest.raises(DataError, match=r"(?s)reads 4 values.*has 5.*key\.bin.*t1.*load_dim"):
        LoadCheckedPoints(4, 4)(results)
    del results["lidar_points"]["num_pts_feats"]
    with pytest.raises(DataError, match=r"(?s)period of 5: likely 5 values per point.*key\.bin"):
        LoadCheckedPoints(4, 4)(results)


def test_wrong_options_are_named() -> None:
    for make in (lambda: LoadCheckedPoints(4, 5), lambda: LoadCheckedSweeps(use_dim=[])):
        with pytest.raises(ValueError, match="use_dim"):
            make()
    with pytest.raises(ValueError, match="nonfinite"):
        LoadPoints(nonfinite="keep")


@pytest.mark.parametrize("moved", ["lidar_aug_matrix", "transformation_3d_flow"])
def test_sweeps_do_not_join_a_scene_that_was_moved(moved):
    """They stayed where they were."""
    with pytest.raises(ValueError, match="put LoadCheckedSweeps before AugmentBEV"):
        LoadCheckedSweeps()({"points": None, moved: []})
