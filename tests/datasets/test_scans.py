# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.converters.infos import write_infos
from lidistill.datasets.collate import collate_pairs
from lidistill.datasets.loading import LoadPointLabels, LoadPoints, Voxelize
from lidistill.datasets.sampler import Draw
from lidistill.datasets.scan_transforms import MapPointLabels, OffsetIntensity
from lidistill.datasets.scans import LidarScans
from lidistill.datasets.transforms import RotateFlipPoints
from lidistill.evaluation.label_maps import NUSCENES_LABEL_TABLE
from lidistill.geometry.voxels import CartesianVoxels
from lidistill.io import DataError

VOXELS = CartesianVoxels(size=(1.0, 1.0, 1.0), point_range=(-16, -16, -4, 16, 16, 4))


def scans(root, pipeline=(), **options):
    return LidarScans(ann_file="infos.pkl", data_root=root, pipeline=list(pipeline), **options)


def test_frames_have_points_and_classes_but_no_cameras(mini_source):
    steps = [
        LoadPoints(),
        LoadPointLabels(),
        MapPointLabels(NUSCENES_LABEL_TABLE),
        RotateFlipPoints(),
        Voxelize(VOXELS),
    ]
    data = scans(mini_source, steps)
    frame = data[Draw(1, 5)]
    assert (len(data), frame.cameras, frame.scene) == (3, [], "scene-0001")
    stored = np.arange(len(frame.points)) % 32
    np.testing.assert_array_equal(frame.point_labels, np.array(NUSCENES_LABEL_TABLE)[stored])
    batch = collate_pairs([frame, data[Draw(2, 5)]])["inputs"]
    assert batch.images.shape == (0, 3, 0, 0)
    assert batch.tokens == ["token1", "token2"]
    np.testing.assert_array_equal(data[Draw(1, 5)].points, frame.points)


def test_fractions_of_the_frames(mini_source):
    assert [scans(mini_source, every_scan=2)[i].token for i in range(2)] == ["token0", "token2"]
    assert len(scans(mini_source, scenes=1)) == 3
    with pytest.raises(ValueError, match=r"expected 1\.\.1, got 2"):
        scans(mini_source, scenes=2)


def test_an_info_file_without_images_will_do(tmp_path):
    metainfo = {"dataset": "nuscenes", "info_version": "1.1"}
    frame = {"token": "t", "lidar_points": {"lidar_path": "a/b.bin", "num_pts_feats": 4}}
    write_infos(tmp_path / "infos.pkl", metainfo, [frame], {}, "test")
    assert scans(tmp_path)[0].lidar_path == tmp_path / "a/b.bin"
    frame["lidar_points"].pop("num_pts_feats")
    write_infos(tmp_path / "infos.pkl", metainfo, [frame], {}, "test")
    with pytest.raises(DataError, match=r"Expected a record with .lidar_points\.num_pts_feats"):
        scans(tmp_path)


def test_labels_beyond_the_table_are_an_error(mini_source):
    data = scans(mini_source, [LoadPoints(), LoadPointLabels(), MapPointLabels(range(20))])
    with pytest.raises(DataError, match=r"labels in 0\.\.19, got 31") as error:
        data[0]
    assert error.value.token == "token0"
    with pytest.raises(ValueError, match="put LoadPointLabels"):
        scans(mini_source, [LoadPoints(), MapPointLabels(range(20))])[0]
    with pytest.raises(ValueError, match="one class a stored label"):
        MapPointLabels([])


def test_offset_moves_the_intensity_only(mini_source):
    plain, moved = (
        scans(mini_source, [LoadPoints(), *extra])[0] for extra in ([], [OffsetIntensity()])
    )
    np.testing.assert_array_equal(moved.points[:, 3], plain.points[:, 3] + np.float32(1))
    np.testing.assert_array_equal(moved.points[:, [0, 1, 2, 4]], plain.points[:, [0, 1, 2, 4]])
