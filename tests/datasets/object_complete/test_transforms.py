# SPDX-License-Identifier: Apache-2.0
"""Completion in the pipeline: one augmentation for both clouds, marks that come off again."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.converters.infos import load_infos, write_infos
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.object_bank.build import BankReader, build_bank
from lidistill.converters.object_bank.compose import ComposeOptions, compose
from lidistill.converters.object_bank.export import export_frames
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.sources.nuscenes import NuScenesSource
from lidistill.converters.object_bank.sources.semantic_kitti import SemanticKittiSource
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.datasets.object_complete.transforms import (
    TEACHER_POINTS,
    ComposeObjectComplete,
    SplitObjectComplete,
)
from lidistill.geometry.boxes import lidar_to_kitti_boxes
from lidistill.io import DataError
from tests.converters.fake_semantic_kitti import write_fake_semantic_kitti
from tests.converters.object_bank.drives import sensor_boxes, write_scans
from tests.converters.object_bank.scenes import ListSource, make_scene


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("points") / "p")


@pytest.fixture(scope="module")
def bank(tracks, tmp_path_factory):
    out = tmp_path_factory.mktemp("bank")
    build_bank(ListSource(tracks), out, BankOptions(mirror=True))
    return out


def sample(tracks, frame=4, columns=5):
    from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

    compat.apply()
    points = torch.from_numpy(tracks.frames[frame].read()[:, :columns].copy())
    boxes = torch.tensor([[5.0, 1.0, -1.0, 4.0, 2.0, 1.5, 0.3]])
    return {
        "token": f"frame{frame}",
        "lidar_points": {"lidar_path": "x.bin"},
        "points": LiDARPoints(points, points_dim=columns),
        "gt_bboxes_3d": LiDARInstance3DBoxes(boxes),
        "gt_labels_3d": np.array([0]),
        "box_type_3d": LiDARInstance3DBoxes,
        "box_mode_3d": 0,
    }


def both(bank, **settings):
    return ComposeObjectComplete(str(bank), view="both", **settings)


def packed(results):
    from mmdet3d.datasets.transforms import Pack3DDetInputs

    keys = ("points", "gt_bboxes_3d", "gt_labels_3d")
    return SplitObjectComplete()(Pack3DDetInputs(keys=keys)(results))


def test_both_clouds_come_out_again(tracks, bank):
    out = packed(both(bank)(sample(tracks)))["inputs"]
    points = tracks.frames[4].read()
    np.testing.assert_array_equal(out["points"].numpy(), points)
    reader = BankReader(bank)
    expected = compose(points, reader.scene("scene"), 4).cloud
    np.testing.assert_array_equal(out[TEACHER_POINTS].numpy(), expected)
    complete = ComposeObjectComplete(str(bank))(sample(tracks))["points"].tensor.numpy()
    np.testing.assert_array_equal(complete, expected)


def test_one_augmentation_for_both(tracks, bank):
    """Flip, turn, scale, range and shuffle: each cloud as if it had been augmented alone."""
    from mmdet3d.datasets.transforms import (
        GlobalRotScaleTrans,
        PointShuffle,
        PointsRangeFilter,
        RandomFlip3D,
    )

    from lidistill.datasets.detections import seeded

    steps = [
        RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=1.0, flip_ratio_bev_vertical=0.5),
        GlobalRotScaleTrans([-0.4, 0.4], [0.9, 1.1], [0.2, 0.2, 0.1]),
        PointsRangeFilter([-20, -20, -5, 20, 20, 3]),
        PointShuffle(),
    ]

    def augmented(results, seed=3):
        with seeded(seed):
            for step in steps:
                results = step(results)
        return results

    marked = augmented(both(bank)(sample(tracks)))
    boxes = marked["gt_bboxes_3d"].tensor
    inputs = packed(marked)["inputs"]
    student = augmented(sample(tracks))
    teacher = augmented(ComposeObjectComplete(str(bank))(sample(tracks)))
    torch.testing.assert_close(boxes, student["gt_bboxes_3d"].tensor)
    for cloud, alone in ((inputs["points"], student), (inputs[TEACHER_POINTS], teacher)):
        rows, expected = cloud.numpy(), alone["points"].tensor.numpy()
        order = [np.lexsort(each.T) for each in (rows, expected)]
        np.testing.assert_allclose(rows[order[0]], expected[order[1]], atol=1e-6)


def test_columns(tracks, bank):
    ring = ComposeObjectComplete(str(bank), ring_column=4)(sample(tracks))["points"].tensor
    assert ring[-50:, 4].any()
    lag = ComposeObjectComplete(str(bank), time_column=4, time="lag")(sample(tracks))
    assert set(np.round(lag["points"].tensor[-100:, 4].numpy(), 2)) <= set(
        np.round(np.arange(-4, 5) * 0.25, 2)
    )
    now = ComposeObjectComplete(str(bank), time_column=4)(sample(tracks))["points"].tensor
    assert (now[-100:, 4] == 0).all()
    four = ComposeObjectComplete(str(bank))(sample(tracks, columns=4))["points"].tensor
    assert four.shape[1] == 4


def test_unknown_frames(tracks, bank):
    other = {**sample(tracks), "token": "elsewhere"}
    with pytest.raises(DataError, match="does not know"):
        both(bank)(other)
    kept = ComposeObjectComplete(str(bank), missing="keep")({**sample(tracks), "token": "x"})
    np.testing.assert_array_equal(kept["points"].tensor.numpy(), tracks.frames[4].read())
    out = packed(both(bank, missing="keep")({**sample(tracks), "token": "x"}))["inputs"]
    torch.testing.assert_close(out["points"], out[TEACHER_POINTS])
    with pytest.raises(DataError, match="No bank"):
        both(bank / "none")(sample(tracks))
    with pytest.raises(ValueError, match="view"):
        ComposeObjectComplete(str(bank), view="student")


def test_a_worker_process_opens_the_bank_itself(tracks, bank):
    step = both(bank)
    first = step(sample(tracks))["points"].tensor
    again = pickle.loads(pickle.dumps(step))(sample(tracks))["points"].tensor
    torch.testing.assert_close(first, again)


def test_export_of_a_data_set(tiny_world, tmp_path):
    root = tiny_world / "nuscenes"
    infos = next(iter(convert_nuscenes(root, "v1.0-mini", tmp_path, jobs=1).values()))
    names = {frame["scene_name"] for frame in load_infos(infos).frames}
    build_bank(NuScenesSource(root, "v1.0-mini", scenes=sorted(names)[:2]), tmp_path / "bank")
    reader = BankReader(tmp_path / "bank")
    out = export_frames(reader, infos, root, tmp_path / "out")
    written, before = load_infos(out), load_infos(infos)
    assert written.metainfo["object_complete"] == {"frames": 4, "of": len(before.frames)}
    grown = 0
    for new, old in zip(written.frames, before.frames, strict=True):
        cloud = np.fromfile(tmp_path / "out" / new["lidar_points"]["lidar_path"], dtype="<f4")
        assert cloud.size % 5 == 0
        more = [i["num_lidar_pts"] for i in new["instances"]]
        less = [i["num_lidar_pts"] for i in old["instances"]]
        grown += sum(more) - sum(less)
    assert grown > 0
    stamp = out.stat().st_mtime_ns
    first = sorted((tmp_path / "out" / "LIDAR_COMPLETE").iterdir())[0]
    made = first.stat().st_mtime_ns
    export_frames(reader, infos, root, tmp_path / "out")
    assert first.stat().st_mtime_ns == made
    assert out.stat().st_mtime_ns >= stamp
    with pytest.raises(DataError, match="would take this one's place"):
        export_frames(reader, infos, root, infos.parent)
    cloud = next((tmp_path / "out" / "LIDAR_COMPLETE").glob("*.bin"))
    whole = cloud.read_bytes()
    cloud.write_bytes(whole[:-20])  # a frame of this name, of another data set
    with pytest.raises(DataError, match="of another data set, or its scan was written anew"):
        export_frames(reader, infos, root, tmp_path / "out")
    cloud.write_bytes(whole)
    with pytest.raises(DataError, match=r"written with another window.*"):
        export_frames(reader, infos, root, tmp_path / "out", ComposeOptions(window="past"))
    (tmp_path / "out" / "LIDAR_COMPLETE" / "manifest.json").unlink()
    with pytest.raises(DataError, match="no manifest"):
        export_frames(reader, infos, root, tmp_path / "out")


def test_clouds_that_are_called_alike_are_exported_each(tmp_path):
    """Sequences of SemanticKITTI all have a 000000.bin."""
    root = write_fake_semantic_kitti(tmp_path / "semantic")
    infos = convert_semantic_kitti(root)["train"]
    build_bank(SemanticKittiSource(root, ["00"]), tmp_path / "bank")
    out = export_frames(BankReader(tmp_path / "bank"), infos, root, tmp_path / "out")
    before = {frame["token"]: frame for frame in load_infos(infos).frames}
    for frame in load_infos(out).frames:
        name = frame["lidar_points"]["lidar_path"]
        cloud = np.fromfile(tmp_path / "out" / name, "<f4")
        source = np.fromfile(root / before[frame["token"]]["lidar_points"]["lidar_path"], "<f4")
        if frame["scene_name"] == "02":  # not in the bank: as it is
            np.testing.assert_array_equal(cloud, source)
    assert len({frame["lidar_points"]["lidar_path"] for frame in load_infos(out).frames}) == 6


def test_points_in_kittis_boxes_are_counted_in_the_completed_cloud(tmp_path):
    """Its boxes stand in the camera's frame."""
    tracks = make_scene(tmp_path / "made", sweeps=False)
    root = tmp_path / "kitti"
    write_scans(root / "training" / "velodyne", tracks)
    turn = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    boxes = sensor_boxes(tracks)
    rows = [lidar_to_kitti_boxes(b, turn)[:, [3, 4, 5, 2, 0, 1, 6]] for b in boxes.values()]
    frames = [
        {
            "sample_idx": k,
            "lidar_points": {"lidar_path": f"{k:06d}.bin", "num_pts_feats": 4},
            "images": {"CAM2": {"lidar2cam": turn.tolist()}},
            "instances": [{"bbox_3d": row[k].tolist(), "num_lidar_pts": 0} for row in rows],
        }
        for k in range(5)
    ]
    meta = {"dataset": "kitti", "info_version": "1.1", "split": "train"}
    write_infos(tmp_path / "infos.pkl", meta, frames, {}, "made")
    names = [replace(f, token=f"{k:06d}") for k, f in enumerate(tracks.frames)]
    build_bank(ListSource(replace(tracks, frames=names)), tmp_path / "bank")
    bank = BankReader(tmp_path / "bank")
    out = export_frames(bank, tmp_path / "infos.pkl", root, tmp_path / "out")
    stored = np.diff(bank.scene("scene").offsets)
    for frame in load_infos(out).frames:
        counts = [instance["num_lidar_pts"] for instance in frame["instances"]]
        assert all(count > 0.9 * own for count, own in zip(counts, stored, strict=True))
