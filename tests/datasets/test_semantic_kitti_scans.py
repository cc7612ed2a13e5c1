# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.converters.semantic_kitti.labels import STORED_LABELS, semantic_kitti_label_table
from lidistill.datasets.collate import collate_pairs
from lidistill.datasets.loading import LoadPoints, Voxelize
from lidistill.datasets.scan_transforms import LoadSemanticKittiLabels, OffsetIntensity
from lidistill.datasets.scans import LidarScans
from lidistill.geometry.voxels import CylindricalVoxels
from lidistill.io import DataError
from tests.converters.fake_semantic_kitti import write_fake_semantic_kitti


@pytest.fixture
def root(tmp_path):
    root = write_fake_semantic_kitti(tmp_path / "kitti")
    convert_semantic_kitti(root)
    return root


def scans(root, *steps, **options):
    return LidarScans(
        ann_file="semantickitti_infos_train.pkl",
        data_root=root,
        pipeline=[LoadPoints(), *(steps or (LoadSemanticKittiLabels(),))],
        **options,
    )


def test_points_have_their_class(root):
    frame = scans(root)[4]
    stored = np.fromfile(root / "sequences/02/labels/000001.label", dtype="<u4")
    table = semantic_kitti_label_table()
    expected = [table[int(label) % 65536] for label in stored]
    np.testing.assert_array_equal(frame.point_labels, expected)
    assert frame.point_labels.dtype == np.uint8
    assert frame.points.shape == (len(stored), 4)


def test_every_nth_scan_of_the_sorted_list(root):
    tokens = [frame.token for frame in map(scans(root, every_scan=4).__getitem__, range(2))]
    assert tokens == ["00_000000", "02_000001"]


def test_a_batch_for_the_network_with_the_authors_intensity(root):
    steps = (LoadSemanticKittiLabels(), OffsetIntensity(), Voxelize(CylindricalVoxels()))
    batch = collate_pairs([scans(root, *steps)[i] for i in (0, 3)])["inputs"]
    assert batch.batch_size == 2
    assert torch_min(batch.voxel_features) == pytest.approx(1.5)
    assert len(batch.point_labels) == len(batch.points)


def torch_min(values) -> float:
    return float(values.min())


def test_labels_of_another_data_set_need_their_own_table(root):
    path = root / "sequences/00/labels/000000.label"
    stored = np.fromfile(path, dtype="<u4")
    stored[7] = 77
    stored.tofile(path)
    with pytest.raises(DataError, match=r"(?s)does not know: 77\..*table=") as error:
        scans(root)[0]
    assert error.value.token == "00_000000"
    ours = scans(root, LoadSemanticKittiLabels(table=[1] * 300))[0]
    assert set(ours.point_labels) == {1}
    assert len(STORED_LABELS) == 34


def test_missing_and_cut_labels_are_named(root):
    path = root / "sequences/00/labels/000000.label"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match="a 4-byte label for each of"):
        scans(root)[0]
    path.unlink()
    with pytest.raises(DataError, match="No labels for this scan: file not found"):
        scans(root)[0]
    test = LidarScans(
        ann_file="semantickitti_infos_test.pkl",
        data_root=root,
        pipeline=[LoadPoints(), LoadSemanticKittiLabels()],
    )
    with pytest.raises(DataError, match=r"(?s)the info file names none.*infos_test\.pkl"):
        test[0]
