# SPDX-License-Identifier: Apache-2.0
"""Banks: what is fused and how, thinning, files, builds that are killed or run in parallel."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from lidistill.converters.object_bank import build
from lidistill.converters.object_bank.accumulate import gather
from lidistill.converters.object_bank.bank import (
    FROM_SWEEP,
    MIRRORED,
    STANDING,
    read_bank,
    write_bank,
)
from lidistill.converters.object_bank.build import BankReader, build_bank, plan_bank, scene_path
from lidistill.converters.object_bank.finish import instances_of, kept_rows, make_bank, mirrored
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.tracks import Frame, Scaled, scene_tracks, sweep_boxes
from lidistill.io import DataError
from tests.converters.object_bank.scenes import ListSource, box_at, make_scene, pose_of

PLAIN = BankOptions.plain()


@pytest.fixture
def tracks(tmp_path):
    return make_scene(tmp_path / "points")


def test_every_claimed_point_is_found(tracks):
    bank = make_bank(tracks, PLAIN)
    assert bank.notes["counted"] == 15
    assert bank.notes["differ"] == 0
    claimed = np.bincount(tracks.box_instance, tracks.counts)
    np.testing.assert_array_equal(np.diff(bank.offsets), claimed)
    assert not bank.standing.any()
    assert (np.diff(bank.source[slice(*bank.offsets[:2])].astype(int)) >= 0).all()


def test_standing_objects_are_fused_in_the_world(tracks):
    bank = make_bank(tracks, replace(PLAIN, fuse_static=True))
    assert bank.standing.tolist() == [True, False, False]
    assert (bank.flags[: bank.offsets[1]] & STANDING).all()
    assert not (bank.flags[bank.offsets[1] :] & STANDING).any()
    # jittered boxes of a standing object do not blur its cloud
    jitter = np.random.default_rng(0).normal(0, 0.1, (len(tracks.box_frame), 2))
    shaken = replace(tracks, world_from_box=tracks.world_from_box.copy(), notes=[])
    shaken.world_from_box[:, :2, 3] += jitter
    shaken.sizes = tracks.sizes + 1.0

    def blur(options):
        """How far points are from the walls of the true box (95 %)."""
        made = make_bank(shaken, options)
        assert made.standing[0] == options.fuse_static
        half = np.array([4.0, 2.0, 1.5]) / 2 * 0.99
        cloud = made.cloud(0)
        cloud[:, :2] -= np.median(cloud[:, :2], axis=0)
        return np.quantile(np.abs(np.abs(cloud) - half).min(axis=1), 0.95)

    assert blur(replace(PLAIN, fuse_static=True)) < blur(PLAIN)


def test_annotations_that_say_moving_win(tracks):
    tracks.moving[0] = 1
    assert not make_bank(tracks, BankOptions()).standing.any()


def test_sweeps_through_interpolated_boxes(tracks):
    instances, poses, sizes = sweep_boxes(tracks, 1)
    assert instances.tolist() == [0, 1, 2]
    truth = box_at("car1", 0.25)
    np.testing.assert_allclose(poses[1, :3, 3], truth[:3], atol=1e-9)
    np.testing.assert_allclose(sizes[1], truth[3:6])
    with_sweeps = make_bank(tracks, replace(PLAIN, sweeps=True))
    assert len(with_sweeps.xyz) > 1.5 * len(make_bank(tracks, PLAIN).xyz)
    swept = with_sweeps.flags & FROM_SWEEP > 0
    assert set(with_sweeps.source[swept] % 2) == {1}
    half = with_sweeps.sizes[1] / 2
    assert (np.abs(with_sweeps.cloud(1)) <= half + 1e-3).all()


def test_a_turn_goes_the_short_way(tracks):
    from lidistill.converters.object_bank.tracks import between, upright_boxes

    first, last = (upright_boxes(np.array([[0, 0, 0, 1, 1, 1, yaw]])) for yaw in (3.0, -3.0))
    middle = between(first, last, 0.5)[0]
    assert abs(abs(np.arctan2(middle[1, 0], middle[0, 0])) - np.pi) < 1e-9


def test_no_box_where_a_track_is_not_on_both_sides(tracks):
    kept = (tracks.box_instance != 2) | (tracks.box_frame != 2)
    for name in ("box_frame", "box_instance", "world_from_box", "sizes", "counts"):
        setattr(tracks, name, getattr(tracks, name)[kept])
    assert sweep_boxes(tracks, 1)[0].tolist() == [0, 1]
    assert sweep_boxes(tracks, 5)[0].tolist() == [0, 1, 2]


def test_a_missing_sweep_is_reported_and_a_missing_keyframe_is_an_error(tracks):
    tracks.frames[3].path.unlink()
    assert make_bank(tracks, BankOptions()).notes["missing_sweeps"] == 1
    tracks.frames[4].path.unlink()
    with pytest.raises(DataError, match="not found"):
        make_bank(tracks, BankOptions())


def test_counts_that_disagree_are_reported(tracks):
    tracks.counts[3] += 7
    notes = make_bank(tracks, PLAIN).notes
    assert (notes["differ"], notes["largest_difference"]) == (1, 7)


def test_odd_boxes(tracks):
    rows = [
        (
            int(tracks.box_frame[k]),
            tracks.tokens[tracks.box_instance[k]],
            "car",
            tracks.world_from_box[k],
            tracks.sizes[k] * (k != 0),
            5,
        )
        for k in range(len(tracks.box_frame))
    ]
    rows[6][3][0, 3] += 100.0  # a jump
    rows[7][3][0, 3] += 1e6  # beyond all points
    odd = scene_tracks("odd", tracks.frames, rows)
    assert any("without extent" in note for note in odd.notes)
    assert any("jumps" in note for note in odd.notes)
    bank = make_bank(odd, BankOptions())
    assert bank.notes["empty"] == 3
    assert 0 not in sweep_boxes(odd, 3)[0]


def test_what_cannot_be_is_refused(tracks):
    rows = [(0, "a", "car", np.eye(4), np.ones(3), -1)] * 2
    with pytest.raises(DataError, match="different instance tokens"):
        scene_tracks("twice", tracks.frames, rows)
    with pytest.raises(DataError, match="in time"):
        scene_tracks("back", tracks.frames[::-1], [])


def test_intensities_of_another_scale_are_refused(tmp_path):
    """0..1 where 255 is full would be 0 or 1 of 255; 0..255 where 1 is full would all be full."""
    scene = make_scene(tmp_path)
    source = ListSource(scene)
    with pytest.raises(DataError, match=r"to be 1\.[\s\S]*--intensity-max: 1 for"):
        make_bank(Scaled(source, 1.0).read("scene"), BankOptions())
    for frame in scene.frames:
        points = np.fromfile(frame.path, dtype=np.float32).reshape(-1, 5)
        points[:, 3] /= 255
        points.tofile(frame.path)
    with pytest.raises(DataError, match=r"taken to be 255"):
        make_bank(scene, BankOptions())
    scaled = Scaled(source, 1.0)
    bank = make_bank(scaled.read("scene"), BankOptions())
    assert bank.intensity_max[0] == 1
    assert bank.intensity.max() > 200
    assert scaled.recorded() == {"layout": "test", "intensity_max": 1.0}
    with pytest.raises(ValueError, match="more than 0"):
        Scaled(source, 0.0)


def test_a_ground_margin_leaves_the_bottom_out(tracks):
    bank = make_bank(tracks, replace(PLAIN, ground_margin=0.3))
    assert (bank.cloud(0)[:, 2] >= -0.75 + 0.3 - 1e-3).all()
    assert bank.notes["counted"] == 0


def test_mirrored_points(tracks):
    cloud = next(instances_of(gather(tracks, PLAIN).clouds))
    both = mirrored(cloud)
    seen = both.flags & MIRRORED == 0
    np.testing.assert_array_equal(both.xyz[seen], cloud.xyz)
    image = both.xyz[~seen]
    np.testing.assert_array_equal(np.sort(image[:, 1]), np.sort(-cloud.xyz[:, 1]))
    assert (np.diff(both.source.astype(int)) >= 0).all()
    bank = make_bank(tracks, replace(PLAIN, mirror=True))
    flagged = bank.flags & MIRRORED > 0
    assert flagged[: bank.offsets[2]].sum() == (~flagged[: bank.offsets[2]]).sum()
    assert not flagged[bank.offsets[2] :].any()  # a pedestrian has no halves


def test_thinning_and_caps(tracks):
    cloud = next(instances_of(gather(tracks, PLAIN).clouds))
    rows = kept_rows(cloud, 0.5, None, 0)
    cells = np.floor(cloud.xyz[rows] / 500.0)
    assert len(np.unique(cells, axis=0)) == len(rows)
    assert len(np.unique(np.floor(cloud.xyz / 500.0), axis=0)) == len(rows)
    capped = kept_rows(cloud, 0.0, 10, 3)
    assert len(capped) == 10
    assert (np.diff(capped) > 0).all()
    np.testing.assert_array_equal(capped, kept_rows(cloud, 0.0, 10, 3))
    bank = make_bank(tracks, BankOptions(caps={"": 20, "car": 30}))
    assert (np.diff(bank.offsets) <= [30, 30, 20]).all()


def test_a_file_gives_back_what_was_written(tracks, tmp_path):
    bank = make_bank(tracks, BankOptions())
    write_bank(tmp_path / "a.npz", bank)
    read = read_bank(tmp_path / "a.npz")
    np.testing.assert_array_equal(read.xyz, bank.xyz)
    assert read.notes == bank.notes
    assert bank.point_bytes() == 11 * len(bank.xyz)


@pytest.mark.parametrize("fault", ["cut", "offsets", "source", "pickle"])
def test_damaged_files_are_refused(tracks, tmp_path, fault):
    bank = make_bank(tracks, BankOptions())
    if fault == "offsets":
        bank.offsets[1] = 10_000
    if fault == "source":
        bank.source[0] = 999
    if fault == "pickle":
        bank.names = np.array([{}] * len(bank), dtype=object)
    path = tmp_path / "a.npz"
    write_bank(path, bank)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="Expected the bank"):
        read_bank(path)


def digest(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.*"))
    }


def several(tmp_path):
    one = make_scene(tmp_path / "points")
    return ListSource(*[replace(one, name=f"scene{k}") for k in range(3)])


def test_builds_are_identical_and_go_on(tmp_path, monkeypatch):
    source = several(tmp_path)
    build_bank(source, tmp_path / "a")
    build_bank(source, tmp_path / "b", jobs=2)
    made, real = [], build.make_bank

    def killed(tracks, options):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(tracks.name)
        return real(tracks, options)

    monkeypatch.setattr(build, "make_bank", killed)
    with pytest.raises(KeyboardInterrupt):
        build_bank(source, tmp_path / "c")
    with pytest.raises(DataError, match="unfinished"):
        BankReader(tmp_path / "c")
    monkeypatch.setattr(build, "make_bank", real)
    build_bank(source, tmp_path / "c")
    assert digest(tmp_path / "a") == digest(tmp_path / "b") == digest(tmp_path / "c")


def test_a_cluster_makes_the_same_bank(tmp_path):
    pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    from dask.distributed import Client, LocalCluster

    source = several(tmp_path)
    build_bank(source, tmp_path / "a")
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster):
        build_bank(source, tmp_path / "b", jobs=2, engine="dask")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_scene_whose_tracks_changed_is_made_again(tmp_path, caplog):
    """Labels are mended and the command is run again: the old bank must not stay in silence."""
    source = several(tmp_path)
    build_bank(source, tmp_path / "a")
    before = digest(tmp_path / "a")
    source.found["scene1"].sizes = source.found["scene1"].sizes + 0.25  # they share it
    build_bank(source, tmp_path / "a")
    after = digest(tmp_path / "a")
    changed = {name for name in before if before[name] != after[name]}
    assert changed - {"manifest.json"} == {"scene1.npz"}
    assert "scene1: made again" in caplog.text
    build_bank(source, tmp_path / "b")
    assert digest(tmp_path / "b") == after


def test_clouds_that_were_written_anew_are_gathered_again(tmp_path):
    """In their place, with as many points: intensities on another scale, say."""
    source = several(tmp_path)
    build_bank(source, tmp_path / "a")
    before = digest(tmp_path / "a")
    for frame in source.found["scene1"].frames:
        cloud = np.fromfile(frame.path, np.float32).reshape(-1, frame.columns)
        cloud[:, 3] = np.rint(cloud[:, 3] / 2)
        cloud.tofile(frame.path)
    build_bank(source, tmp_path / "a")
    after = digest(tmp_path / "a")
    assert all(after[name] != before[name] for name in before if name.endswith(".npz"))


def test_other_settings_need_another_folder(tmp_path):
    source = several(tmp_path)
    build_bank(source, tmp_path / "a")
    with pytest.raises(DataError, match="another --out"):
        build_bank(source, tmp_path / "a", BankOptions(mirror=True))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.npz").touch()
    with pytest.raises(DataError, match="no manifest"):
        build_bank(source, tmp_path / "d")


def test_a_plan_writes_nothing(tmp_path):
    source = several(tmp_path)
    plan = plan_bank(source, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert (plan.scenes, plan.done, plan.measured) == (3, 0, 2)
    build_bank(source, tmp_path / "a")
    size = scene_path(tmp_path / "a", "scene0").stat().st_size
    assert abs(plan.bytes_each - size) < 0.01 * size
    assert plan_bank(source, tmp_path / "a").done == 3


def test_a_reader_finds_frames(tmp_path):
    build_bank(several(tmp_path), tmp_path / "a")
    reader = BankReader(tmp_path / "a")
    assert reader.find("nothing", "frame4", scene="scene1") == ("scene1", 4)
    assert reader.find("nothing") is None
    assert len(reader.scene("scene1")) == 3
    with pytest.raises(DataError, match="No bank there"):
        BankReader(tmp_path / "none")


def test_an_empty_scene(tmp_path):
    path = tmp_path / "0.bin"
    np.zeros((4, 5), dtype=np.float32).tofile(path)
    empty = scene_tracks("empty", [Frame("0", 0.0, pose_of(0), path, 5)], [])
    write_bank(tmp_path / "a.npz", make_bank(empty, BankOptions()))
    bank = read_bank(tmp_path / "a.npz")
    assert len(bank) == 0
    assert bank.xyz.shape == (0, 3)


def test_frames_that_are_called_alike(tmp_path):
    """KITTI's drives all have a 000000: the scene decides, else it is an error."""
    source = several(tmp_path)
    for tracks in source.found.values():
        tracks.frames[:] = [replace(f, token=f"{k:06d}") for k, f in enumerate(tracks.frames)]
    build_bank(source, tmp_path / "a")
    reader = BankReader(tmp_path / "a")
    assert reader.find("000001", scene="scene1") == ("scene1", 1)
    assert reader.find("000099", scene="scene1") is None
    with pytest.raises(DataError, match="3 scenes of this bank have a frame 000001: scene0"):
        reader.find("000001")


def test_peak_memory_is_two_banks_and_two_frames():
    import tracemalloc

    from lidistill.bench.objects.object_complete import MadeScene, Size

    scene = MadeScene(Size(frames=20, points=20_000, objects=30, in_box=120))
    tracemalloc.start()
    try:
        bank = make_bank(scene.tracks, BankOptions.plain())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    frame = scene.tracks.frames[0].read().nbytes
    assert len(bank.xyz) == 20 * 30 * 120
    assert peak < 2 * bank.point_bytes() + 2 * frame + 200_000
