# SPDX-License-Identifier: Apache-2.0
"""Every source reads the same boxes and poses as an independent way to them."""

import numpy as np
import pytest

from lidistill.converters.infos import load_infos
from lidistill.converters.kitti.camera import raw_transform
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.object_bank.compose import compose
from lidistill.converters.object_bank.finish import make_bank
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.sources import kitti
from lidistill.converters.object_bank.sources.arrays import ArraySource
from lidistill.converters.object_bank.sources.nuscenes import NuScenesSource
from lidistill.converters.object_bank.sources.oxts import oxts_poses, read_packets, read_poses
from lidistill.converters.object_bank.sources.semantic_kitti import (
    SemanticKittiSource,
    boxes_around,
)
from lidistill.converters.object_bank.sources.tracklets import read_tracklets
from lidistill.converters.object_bank.tracks import upright_boxes
from lidistill.geometry.frames import apply_transform, invert, make_transform, rotation_about_z
from lidistill.io import DataError
from tests.converters.object_bank.drives import (
    TRACKLET,
    box_arrays,
    sensor_boxes,
    write_poses,
    write_scans,
    write_tracking,
    write_tracklets,
)
from tests.converters.object_bank.scenes import box_at, make_scene, pose_of

PLAIN = BankOptions.plain()


def test_nuscenes(tiny_world, tmp_path):
    """Counts agree with the annotations, boxes with the info files."""
    root = tiny_world / "nuscenes"
    source = NuScenesSource(root, "v1.0-mini")
    scene = source.scenes()[0]
    tracks = source.read(scene)
    bank = make_bank(tracks, PLAIN)
    assert bank.notes["counted"] == bank.notes["boxes"] > 10
    assert bank.notes["differ"] == 0
    assert [frame.key for frame in tracks.frames].count(True) == 2
    written = convert_nuscenes(root, "v1.0-mini", tmp_path, jobs=1)
    frames = [f for p in written.values() for f in load_infos(p).frames]
    info = next(f for f in frames if f["token"] == tracks.frames[-1].token)
    last = len(tracks.frames) - 1
    boxes = bank.sensor_from_box[bank.boxes_of(last)]
    expected = np.array([instance["bbox_3d"] for instance in info["instances"]])
    np.testing.assert_allclose(boxes[:, :3, 3], expected[:, :3], atol=1e-9)
    np.testing.assert_allclose(bank.box_sizes[bank.boxes_of(last)], expected[:, 3:6])
    with pytest.raises(DataError, match="Expected scenes of"):
        NuScenesSource(root, "v1.0-mini", scenes=["scene-9999"])


@pytest.fixture
def drive(tmp_path):
    """A drive's scans with four columns, its boxes and a file of poses."""
    tracks = make_scene(tmp_path / "made", sweeps=False)
    write_scans(tmp_path / "velodyne", tracks, "07{:04d}.bin")
    write_poses(tmp_path / "poses.txt", tracks)
    write_tracklets(tmp_path / "tracklets.xml", sensor_boxes(tracks))
    return tracks, tmp_path


def test_scans_of_a_pattern_with_tracklets(drive):
    tracks, folder = drive
    found = kitti.pattern_drive(
        "07",
        str(folder / "velodyne" / "07{frame}.bin"),
        read_tracklets(folder / "tracklets.xml"),
        folder / "poses.txt",
    )
    bank = make_bank(kitti.KittiSource([found]).read("07"), PLAIN)
    expected = make_bank(tracks, PLAIN)
    np.testing.assert_array_equal(bank.offsets, expected.offsets)
    assert np.abs(bank.xyz.astype(int) - expected.xyz).max() <= 1  # rounding
    np.testing.assert_array_equal(bank.intensity, expected.intensity)
    assert bank.frame_tokens.tolist() == [f"07{k:04d}" for k in range(5)]
    points = np.fromfile(folder / "velodyne" / "070002.bin", dtype="<f4").reshape(-1, 4)
    pasted = compose(points, bank, 2).pasted
    assert 0 <= pasted[:, 3].min() <= pasted[:, 3].max() <= 1


def test_without_poses_nothing_stands(drive):
    _, folder = drive
    pattern = str(folder / "velodyne" / "07{frame}.bin")
    found = kitti.pattern_drive("07", pattern, read_tracklets(folder / "tracklets.xml"))
    bank = make_bank(kitti.KittiSource([found]).read("07"), BankOptions())
    assert not bank.standing.any()
    assert any("no poses" in note for note in bank.notes["notes"])
    with pytest.raises(DataError, match="frame"):
        kitti.pattern_drive("07", str(folder / "velodyne" / "*.bin"), [])
    with pytest.raises(DataError, match="No file fits"):
        kitti.pattern_drive("07", str(folder / "velodyne" / "08{frame}.bin"), [])


def test_tracking_benchmark(drive):
    tracks, folder = drive
    base = folder / "kitti" / "training"
    write_tracking(folder / "kitti", tracks)
    (base / "oxts" / "0003.txt").unlink()
    source = kitti.KittiSource(kitti.tracking_drives(folder / "kitti"))
    bank = make_bank(source.read("0003"), PLAIN)
    expected = make_bank(tracks, PLAIN)
    np.testing.assert_array_equal(bank.offsets, expected.offsets)
    assert np.abs(bank.xyz.astype(int) - expected.xyz).max() <= 1
    with pytest.raises(DataError, match="missing: 0009"):
        kitti.tracking_drives(folder / "kitti", ["0009"])
    (base / "label_02" / "0003.txt").write_text("0 1 Car 0")
    with pytest.raises(DataError, match="Line 1"):
        kitti.tracking_drives(folder / "kitti")


@pytest.mark.parametrize(
    "text", ["<a", "<!ENTITY x 'y'>", TRACKLET.format(count=1, items="<item/>")]
)
def test_broken_tracklets_are_refused(tmp_path, text):
    path = tmp_path / "tracklets.xml"
    path.write_text(text)
    with pytest.raises(DataError, match="Expected"):
        read_tracklets(path)


def test_plain_arrays(drive):
    tracks, folder = drive
    scene = folder / "arrays" / "one"
    write_scans(scene / "points", tracks, "{}.bin")
    arrays = box_arrays(tracks)
    np.savez(scene / "boxes.npz", **arrays)
    bank = make_bank(ArraySource(folder / "arrays").read("one"), BankOptions(voxel=0.0))
    np.testing.assert_array_equal(bank.offsets, make_bank(tracks, PLAIN).offsets)
    assert not bank.standing.any()  # no poses
    np.savez(scene / "boxes.npz", **arrays, world_from_sensor=[pose_of(k) for k in range(5)])
    bank = make_bank(ArraySource(folder / "arrays").read("one"), BankOptions())
    assert bank.standing.tolist() == [True, False, False]
    np.savez(scene / "boxes.npz", **{**arrays, "frame": arrays["frame"] + 1})
    with pytest.raises(DataError, match="names others"):
        ArraySource(folder / "arrays").read("one")
    with pytest.raises(DataError, match="No scene"):
        ArraySource(folder)


def test_boxes_around_labelled_points():
    rng = np.random.default_rng(0)
    box = np.array([box_at("car0", 0.0)])
    pose = upright_boxes(box)[0]
    corners = rng.uniform(-1, 1, (4000, 3)) * box[0, 3:6] / 2
    cloud = apply_transform(pose, corners)
    views = {0: cloud[:2000], 3: cloud[2000:]}
    found = boxes_around(views, moving=False)
    assert [frame for frame, *_ in found] == [0, 3]
    np.testing.assert_allclose(found[0][1][:3, 3], box[0, :3], atol=0.1)
    np.testing.assert_allclose(found[0][2], box[0, 3:6] + 0.1, atol=0.15)
    moved = {0: cloud, 1: cloud + pose[:3, 0]}  # along its heading
    for (_, place, size), view in zip(
        boxes_around(moved, moving=True), moved.values(), strict=True
    ):
        assert (np.abs(apply_transform(invert(place), view)) <= size / 2 + 1e-6).all()
        np.testing.assert_allclose(size, box[0, 3:6] + 0.1, atol=0.15)


def test_poses_of_a_camera_are_refused(tmp_path):
    """KITTI odometry's poses.txt: objects were fused along the wrong axes."""
    camera_from_lidar = make_transform([[0, -1, 0], [0, 0, -1], [1, 0, 0]], [0.1, -0.1, -0.3])
    lidar = np.array([rotation_about_z(0.05 * k) for k in range(20)])
    lidar[:, 0, 3] = np.arange(20)
    camera = camera_from_lidar @ lidar @ invert(camera_from_lidar)
    for name, poses in (("lidar", lidar), ("camera", camera), ("parked", camera[[0] * 9])):
        np.savetxt(tmp_path / name, poses[:, :3].reshape(-1, 12))
    np.testing.assert_allclose(read_poses(tmp_path / "lidar"), lidar, atol=1e-9)
    assert len(read_poses(tmp_path / "parked")) == 9
    with pytest.raises(DataError, match=r"(?s)moves along its own z.*inv\(Tr\) @ pose @ Tr"):
        read_poses(tmp_path / "camera")


def test_poses_of_a_turning_vehicle():
    """A metre north and a quarter turn, seen from a vehicle that first looked east."""
    packets = np.array(
        [[49.0, 8.4, 100.0, 0, 0, 0], [49.0 + 1 / 111_194.9, 8.4, 101.0, 0, 0, np.pi / 2]]
    )
    poses = oxts_poses(packets)
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-12)
    # the Mercator scale of the first latitude stretches a degree of the sphere to the ellipsoid's
    np.testing.assert_allclose(poses[1, :3, 3], [0, 1.0, 1.0], atol=2e-3)
    np.testing.assert_allclose(poses[1, :2, 0], [0, 1], atol=1e-12)


@pytest.fixture(scope="module")
def drives(realdata_dir, tmp_path_factory):
    """Real KITTI drives, unpacked by the folder's own script."""
    import subprocess
    import sys

    out = tmp_path_factory.mktemp("real")
    script = realdata_dir / "unpack.py"
    if not script.is_file():
        pytest.skip(f"no unpack.py in {realdata_dir}")
    subprocess.run([sys.executable, str(script), str(out)], check=True, capture_output=True)
    return out


@pytest.mark.slow
def test_a_real_drive_and_instance_labels(drives):
    root = drives / "kitti_drives"
    day = root / "official" / "2011_09_26"
    name = "2011_09_26_drive_0005_sync"
    poses = read_poses(root / "poses" / "05.txt")
    packets = sorted((root / "oxts" / name).rglob("*.txt"))
    if packets:
        lidar_from_imu = raw_transform(day / "calib_imu_to_velo.txt", "05")
        rows = np.concatenate([read_packets(path) for path in packets])
        ours = lidar_from_imu @ oxts_poses(rows) @ invert(lidar_from_imu)
        np.testing.assert_allclose(ours, poses[: len(ours)], atol=2e-3)
    drive = kitti.pattern_drive(
        "05",
        str(root / "training" / "velodyne" / "05{frame}.bin"),
        read_tracklets(day / name / "tracklet_labels.xml"),
        root / "poses" / "05.txt",
    )
    bank = make_bank(kitti.KittiSource([drive]).read("05"), BankOptions())
    assert not bank.standing.any()  # all its boxes creep: nothing is fused in the world
    points = np.fromfile(drive.scans[40], dtype="<f4").reshape(-1, 4)
    frame = bank.frame_tokens.tolist().index("050040")
    grown = compose(points, bank, frame)
    assert len(grown.pasted) > grown.removed.sum() > 100

    source = SemanticKittiSource(drives / "semantic_kitti", ["00"])
    tracks = source.read("00")
    bank = make_bank(tracks, PLAIN)
    labelled = int(tracks.counts.sum())
    assert bank.notes["stored_points"] >= 0.98 * labelled  # others may lie in the boxes too
