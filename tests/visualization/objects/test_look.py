# SPDX-License-Identifier: Apache-2.0
"""Pictures, sheets and recordings of completed objects."""

import sys

import numpy as np
import pytest

from lidistill import cli
from lidistill.converters.infos import load_infos
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.object_bank.bank import MIRRORED
from lidistill.converters.object_bank.build import BankReader, build_bank
from lidistill.converters.object_bank.compose import compose
from lidistill.converters.object_bank.export import complete_file
from lidistill.converters.object_bank.finish import make_bank
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.sources.nuscenes import NuScenesSource
from lidistill.io import DataError
from lidistill.visualization.bev import BACKGROUND
from lidistill.visualization.objects import recording
from lidistill.visualization.objects.coverage import coverage, occupied
from lidistill.visualization.objects.pictures import BLUE, ORANGE, frame_pair, object_picture
from lidistill.visualization.objects.recording import record_scene
from lidistill.visualization.objects.sheet import write_sheets
from tests.converters.object_bank.scenes import make_scene


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("points") / "p")


@pytest.fixture(scope="module")
def world(tiny_world, tmp_path_factory):
    """Root, an info file and a bank of one scene of it."""
    root, out = tiny_world / "nuscenes", tmp_path_factory.mktemp("look")
    infos = convert_nuscenes(root, "v1.0-mini", out, jobs=1)["val"]
    scene = "scene-0103"
    build_bank(NuScenesSource(root, "v1.0-mini", scenes=[scene]), out / "bank")
    return root, infos, out / "bank", scene


def test_view_counts_as_a_loop(tracks):
    bank = make_bank(tracks, BankOptions.plain())
    for instance in range(3):
        rows = slice(*bank.offsets[instance : instance + 2])
        xyz, source = bank.xyz[rows], bank.source[rows]
        views = [xyz[source == view] for view in np.unique(source)]
        cells = [len({tuple(c) for c in np.floor_divide(view, 300).tolist()}) for view in views]
        assert bank.views[instance] == len(views)
        assert bank.view_points[instance] == pytest.approx(np.mean([len(v) for v in views]))
        assert bank.view_cells[instance] == pytest.approx(np.mean(cells))


def test_coverage_grows(tracks):
    bank = make_bank(tracks, BankOptions(mirror=True))
    found = coverage([bank])
    assert found["car"].objects == 2
    assert found["car"].one_frame < found["car"].track < found["car"].mirrored
    assert found["pedestrian"].track == found["pedestrian"].mirrored
    assert occupied(np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2], [0.4, 0.1, 0.1]])) == 2
    assert coverage([]) == {}


def test_a_frame_before_and_after(tracks):
    bank = make_bank(tracks, BankOptions())
    points = tracks.frames[4].read()
    picture = frame_pair(points, compose(points, bank, 4), size=200, forward="x")
    assert picture.shape == (200, 408, 3)
    before, after = picture[:, :200], picture[:, 208:]

    def coloured(half):
        return int((np.ptp(half.astype(int), axis=2) > 60).sum())

    assert coloured(after) > coloured(before) > 0


def test_an_object_from_two_sides(tracks):
    bank = make_bank(tracks, BankOptions(mirror=True))
    picture = object_picture(bank, 0, height=80)
    assert picture.shape[0] == 80
    flat = picture.reshape(-1, 3)
    for colour in (BACKGROUND, ORANGE, BLUE):
        assert (flat == colour).all(axis=1).any()
    assert (bank.flags & MIRRORED).any()
    first = picture[:, : picture.shape[1] // 2 - 4].reshape(-1, 3)
    assert not (first == BLUE).all(axis=1).any()


def test_sheets(world, tmp_path):
    root, infos, bank, scene = world
    command = ["view", "objects", str(infos), "--root", str(root), "--bank", str(bank)]
    assert cli.main([*command, "--out", str(tmp_path), "--frames", "1", "--objects", "2"]) == 0
    text = (tmp_path / f"{scene}.html").read_text()
    assert text.count("<img") == 3
    assert "cells in one frame" in text
    assert "script" not in text
    with pytest.raises(DataError, match="knows no frame"):
        write_sheets(BankReader(bank), infos, root, tmp_path, scenes=["other"])
    with pytest.raises(DataError, match=rf"in common of other.*(?s:.)*some of {scene}"):
        write_sheets(BankReader(bank), infos, root, tmp_path / "b", scenes=[scene, "other"])
    assert not (tmp_path / "b").exists()


def test_a_cloud_that_is_not_the_banks_is_named(tracks, tmp_path):
    bank, frame = make_bank(tracks, BankOptions()), tracks.frames[2]
    points, path = frame.read(), tmp_path / "cloud.bin"
    assert len(complete_file(points, path, bank, 2).cloud) > len(points)
    with pytest.raises(DataError, match=r"(?s)none is in the cloud.*file: .*cloud\.bin"):
        complete_file(np.zeros_like(points), path, bank, 2)


def test_a_recording_needs_rerun(world, tmp_path, monkeypatch):
    root, infos, _, _ = world
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ImportError, match="rerun-sdk"):
        record_scene(infos, root, tmp_path / "a.rrd")


def test_a_rerun_that_does_not_import_says_why(world, tmp_path, monkeypatch):
    root, infos, _, _ = world
    (tmp_path / "rerun.py").write_text("raise ImportError('pyarrow requires NumPy 2.0')\n")
    monkeypatch.delitem(sys.modules, "rerun", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"does not import \(pyarrow requires NumPy 2.0\)"):
        record_scene(infos, root, tmp_path / "a.rrd")


class Views:
    """Stands for rerun's blueprints: the name of what is built, what is in it, and its origin."""

    def __getattr__(self, name):
        return lambda *parts, origin="", **_kwargs: (name, origin, *parts)


class Spy:
    """Stands for rerun: remembers what was logged."""

    def __init__(self):
        self.logged, self.times, self.layout, self.blueprint = [], [], (), Views()

    def __getattr__(self, name):
        return lambda *args, **kwargs: (name, args, kwargs)

    def RecordingStream(self, *_args, **_kwargs):
        return self

    def log(self, path, what, **_kwargs):
        self.logged.append((path, what[0] if isinstance(what, tuple) else what))

    def send_blueprint(self, layout):
        self.layout = layout

    def set_time(self, _name, duration):
        self.times.append(duration)

    def save(self, path):
        with open(path, "wb") as stream:
            stream.write(b"RRF2")

    ViewCoordinates = type("Views", (), {"RIGHT_HAND_Z_UP": "up"})


def test_what_a_recording_holds(world, tmp_path, monkeypatch):
    root, infos, bank, scene = world
    spy = Spy()
    monkeypatch.setitem(sys.modules, "rerun", spy)
    out = record_scene(infos, root, tmp_path / "a.rrd", scene, BankReader(bank))
    assert out.is_file()
    paths = [path for path, _ in spy.logged]
    assert paths.count("world/points") == paths.count("world/complete") == 2
    assert paths.count("world/boxes") == 2
    assert {"world/CAM_FRONT", "world/CAM_BACK"} <= set(paths)
    assert spy.times == pytest.approx([0.0, 0.5])
    _, _, (_, _, space, (_, _, *images)), *panels = spy.layout
    assert space == ("Spatial3DView", "world")
    assert {origin for _, origin in images} >= {"world/CAM_FRONT", "world/CAM_BACK"}
    assert len(panels) == 3
    with pytest.raises(DataError, match="No scene"):
        record_scene(infos, root, tmp_path / "a.rrd", "scene-9999")


def test_a_cameras_offset_in_its_projection_moves_it(world, tmp_path, monkeypatch):
    """KITTI's P2 is 6 cm beside the frame of lidar2cam; a pinhole knows K alone."""
    root, infos, _, scene = world
    spy, read = Spy(), load_infos(infos)
    monkeypatch.setitem(sys.modules, "rerun", spy)
    monkeypatch.setattr(spy, "Pinhole", lambda **given: ("Pinhole", given), raising=False)
    monkeypatch.setattr(spy, "Transform3D", lambda **given: ("Transform3D", given), raising=False)
    logged = {}
    monkeypatch.setattr(
        spy, "log", lambda path, what, **_: logged.setdefault((path, what[0]), what)
    )
    frames = [frame for frame in read.frames if frame["scene_name"] == scene]
    image = min(frames, key=lambda frame: frame["timestamp"])["images"]["CAM_FRONT"]
    projection = np.eye(4)
    projection[:3, :3] = np.array(image["cam2img"])[:3, :3]
    projection[:3, 3] = [44.9, 0.2, 0.003]
    image["cam2img"] = projection.tolist()
    monkeypatch.setattr(recording, "load_infos", lambda *_, **__: read)
    record_scene(infos, root, tmp_path / "a.rrd", scene)
    pose = logged["world/CAM_FRONT", "Transform3D"][1]
    point = np.array([1.0, 12.0, -0.5])
    seen = np.linalg.solve(pose["mat3x3"], point - pose["translation"])
    u, v, d = logged["world/CAM_FRONT", "Pinhole"][1]["image_from_camera"] @ seen
    wanted = projection @ np.array(image["lidar2cam"]) @ [*point, 1.0]
    np.testing.assert_allclose([u / d, v / d], wanted[:2] / wanted[2])


def test_what_a_frame_does_not_have_is_cleared(world, tmp_path, monkeypatch):
    """Else rerun goes on with the boxes and images of the frame before."""
    root, infos, _, scene = world
    spy, read = Spy(), load_infos(infos)
    monkeypatch.setitem(sys.modules, "rerun", spy)
    frames = [frame for frame in read.frames if frame["scene_name"] == scene]
    first, second = sorted(frames, key=lambda frame: frame["timestamp"])
    second["instances"] = []
    del second["images"]["CAM_BACK"]
    monkeypatch.setattr(recording, "load_infos", lambda *_, **__: read)
    record_scene(infos, root, tmp_path / "a.rrd", scene)
    cleared = [path for path, what in spy.logged if what == "Clear"]
    assert cleared == ["world/CAM_BACK", "world/boxes"]
    assert [what for path, what in spy.logged if path == "world/boxes"] == ["Boxes3D", "Clear"]
    assert first["instances"]


def test_a_real_recording(world, tmp_path):
    """Read back with rerun's own reader: as many points and boxes as there are."""
    chunks = pytest.importorskip("rerun.chunk")
    root, infos, bank, scene = world
    out = record_scene(infos, root, tmp_path / "a.rrd", scene, BankReader(bank))
    rows = {}
    for chunk in chunks.RrdReader(out).store().stream().to_chunks():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            column = batch.column(batch.schema.names.index(name))
            rows.setdefault((chunk.entity_path, name), []).extend(column.to_pylist())
    known = BankReader(bank).scene(scene)
    frames = [frame for frame in load_infos(infos).frames if frame["scene_name"] == scene]
    sizes = [len(value) for value in rows["/world/boxes", "Boxes3D:centers"]]
    assert sorted(sizes) == sorted(np.unique(known.box_frame, return_counts=True)[1].tolist())
    points = rows["/world/points", "Points3D:positions"]
    assert len(points) == len(frames) == 2
    assert np.isfinite(np.array(points[0])).all()
    assert len(rows["/world/CAM_FRONT", "EncodedImage:blob"]) == 2
