# SPDX-License-Identifier: Apache-2.0
"""Worlds are the same by seed, continue after a kill, and refuse to mix."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lidistill.io import DataError
from lidistill.world import build, generate
from lidistill.world.presets import PRESETS
from tests.world import nano

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from tests.world import nano
from lidistill.world import generate
nano.use()
generate(sys.argv[1], "both", "nano", 3, 1)
"""


@pytest.fixture(autouse=True)
def _nano(monkeypatch):
    monkeypatch.setitem(PRESETS, "nano", nano.NANO)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("nano")
    PRESETS["nano"] = nano.NANO
    generate(out, "both", "nano", 3, jobs=1)
    return out


def test_nothing_unfinished_is_left(world):
    hidden = [p for p in world.rglob("*") if p.name.startswith(".")]
    assert hidden == []
    for layout in build.LAYOUTS:
        assert (world / layout / "manifest.json").exists()
        assert "synthetic" in (world / layout / "SYNTHETIC").read_text()


def test_byte_identical_with_another_number_of_jobs(world, tmp_path):
    generate(tmp_path, "both", "nano", 3, jobs=3)
    assert nano.digest(tmp_path) == nano.digest(world)


def test_another_seed_gives_another_world(world, tmp_path):
    generate(tmp_path, "kitti", "nano", 4, jobs=2)
    a, b = nano.digest(tmp_path / "kitti"), nano.digest(world / "kitti")
    assert a.keys() == b.keys()
    assert all(a[k] != b[k] for k in a if k.endswith((".png", ".bin")))


@pytest.mark.parametrize("late", [False, True])
def test_kill_and_run_again(world, tmp_path, late):
    """Killed after its first scene, or while the second layout is under way."""
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out)], cwd=ROOT)
    layout = "kitti" if late else "nuscenes"
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            if len(list((out / layout / build.WORK).glob("*.json"))) >= 2:
                break
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (out / layout / "manifest.json").exists(), "it was too fast to be killed"
    done = {p: p.stat().st_mtime_ns for p in (out / layout / build.WORK).glob("*.json")}
    assert done
    generate(out, "both", "nano", 3, jobs=2)
    assert nano.digest(out) == nano.digest(world)


def test_a_half_written_scene_is_written_again(world, tmp_path, monkeypatch):
    """An error in the middle leaves a world that the next call completes."""
    from lidistill.world.layouts import nuscenes as layout_nuscenes

    original, calls = layout_nuscenes.write_frame, []

    def failing(path, data):
        calls.append(path)
        if len(calls) > 40:
            raise OSError("disk full")
        original(path, data)

    monkeypatch.setattr(layout_nuscenes, "write_frame", failing)
    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path, "nuscenes", "nano", 3, jobs=2)
    monkeypatch.setattr(layout_nuscenes, "write_frame", original)
    generate(tmp_path, "nuscenes", "nano", 3, jobs=2)
    assert nano.digest(tmp_path / "nuscenes") == nano.digest(world / "nuscenes")


def test_a_finished_world_is_left_alone(world, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*")}
    monkeypatch.setattr(build, "_run_scenes", None)  # would fail if it were called
    generate(world, "both", "nano", 3)
    assert {p: p.stat().st_mtime_ns for p in world.rglob("*")} == before


def test_another_world_in_the_way_is_an_error_that_helps(world):
    before = nano.digest(world)
    with pytest.raises(DataError, match=r"seed 5.*seed 3") as caught:
        generate(world, "nuscenes", "nano", 5)
    assert "another --out" in str(caught.value)
    assert str(world / "nuscenes") in str(caught.value)
    with pytest.raises(DataError, match=r"preset tiny.*preset nano"):
        generate(world, "kitti", "tiny", 3)
    assert nano.digest(world) == before


def test_an_unfinished_other_world_is_in_the_way_too(tmp_path):
    work = tmp_path / "nuscenes" / build.WORK
    work.mkdir(parents=True)
    (work / "parameters.json").write_text('{"preset": "nano", "seed": 1}')
    with pytest.raises(DataError, match="seed 3"):
        generate(tmp_path, "nuscenes", "nano", 3)


def test_a_folder_with_other_content_is_refused(tmp_path):
    (tmp_path / "nuscenes").mkdir()
    (tmp_path / "nuscenes" / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="other content"):
        generate(tmp_path, "nuscenes", "nano", 3)
    assert [path.name for path in (tmp_path / "nuscenes").iterdir()] == ["thesis.tex"]


def test_foreign_files_in_the_folder_for_work_stay(world, tmp_path):
    work = tmp_path / "kitti" / build.WORK
    (work / "mine").mkdir(parents=True)
    (work / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="other content"):
        generate(tmp_path, "kitti", "nano", 3)
    (work / "mine").rename(tmp_path / "mine")
    generate(tmp_path, "kitti", "nano", 3)
    (tmp_path / "mine").rename(tmp_path / "kitti" / "mine")  # beside a world it is not touched
    generate(tmp_path, "kitti", "nano", 3)
    assert (tmp_path / "kitti" / "mine" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "kitti" / "mine").rename(tmp_path / "mine")
    assert nano.digest(tmp_path / "kitti") == nano.digest(world / "kitti")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "waymo"}, "nuscenes, kitti, both; got 'waymo'"),
        ({"preset": "huge"}, "tiny.*got 'huge'"),
        ({"seed": -1}, "seed >= 0"),
        ({"jobs": 0}, "jobs >= 1"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_on_one_folder_make_one_world(world, tmp_path):
    """Both end well, the second after the first; with half a record left by an earlier run."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    both = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    words = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], words
    assert nano.digest(tmp_path) == nano.digest(world)
    assert "another process makes this world" in "".join(words)


@pytest.mark.parametrize("seen", [(False, False), (True, False)])
def test_a_world_that_another_process_ends_meanwhile_is_taken(world, monkeypatch, seen):
    """Between two looks the record of what was begun goes and the manifest comes."""
    looks, marks = iter([seen]), build._marks
    monkeypatch.setattr(build, "_marks", lambda root: next(looks, None) or marks(root))
    before = nano.digest(world)
    generate(world, "kitti", "nano", 3, jobs=1)
    assert nano.digest(world) == before


@pytest.mark.parametrize("damage", ["", "null", "[]", '{"log": []}', "{" * 9000])
def test_a_damaged_record_of_a_scene_is_made_again(world, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(build, "_remove", lambda work: None)
    generate(tmp_path, "kitti", "nano", 3, jobs=2)
    monkeypatch.undo()
    monkeypatch.setitem(PRESETS, "nano", nano.NANO)
    (tmp_path / "kitti" / "manifest.json").unlink()
    record = sorted((tmp_path / "kitti" / build.WORK).glob("2*.json"))[0]
    record.write_text(damage)
    generate(tmp_path, "kitti", "nano", 3, jobs=2)
    assert nano.digest(tmp_path / "kitti") == nano.digest(world / "kitti")


@pytest.mark.parametrize("text", ["", "[]", '{"parameters": []}'])
def test_a_damaged_manifest_is_named(world, tmp_path, text):
    root = tmp_path / "kitti"
    root.mkdir()
    (root / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"(?s)manifest\.json.*rm -r"):
        generate(tmp_path, "kitti", "nano", 3)
    (root / "manifest.json").unlink()
    (root / build.WORK).mkdir()
    (root / build.WORK / "parameters.json").write_text(text or "[")
    with pytest.raises(DataError):
        generate(tmp_path, "kitti", "nano", 3)
