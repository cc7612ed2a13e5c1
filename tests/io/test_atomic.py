# SPDX-License-Identifier: Apache-2.0
"""A file is old or new, never half; errors carry the file, the sample and the remedy."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lidistill.io import (
    DataError,
    atomic_write,
    manifest_path,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
)


def test_error_names_file_token_and_remedy() -> None:
    error = DataError("Broken.", path="a/b.bin", token="t0", fix="run x")
    assert [part in str(error) for part in ("Broken.", "a/b.bin", "t0", "run x")] == [True] * 4
    assert isinstance(error, ValueError)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.token, copy.fix) == (str(error), "a/b.bin", "t0", "run x")


def test_write_replaces_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.pcd.bin"
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".bin"
        temporary.write_bytes(b"one")
        assert not target.exists()
    assert target.read_bytes() == b"one"
    with pytest.raises(ZeroDivisionError), atomic_write(target) as temporary:
        temporary.write_bytes(bytes([1 // (len(temporary.name) - len(".a.pcd.tmp.bin"))]))
    assert target.read_bytes() == b"one"
    assert [path.name for path in target.parent.iterdir()] == ["a.pcd.bin"]


def test_file_without_suffix(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "SYNTHETIC", sync=False) as temporary:
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["SYNTHETIC"]


def test_leftover_of_a_killed_writer_is_taken_over(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    code = (
        "import os, signal\nfrom lidistill.io import atomic_write\n"
        f"with atomic_write({str(target)!r}) as t:\n"
        "    t.write_bytes(b'half of it')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, env=os.environ.copy())
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".a.tmp.bin"]
    with atomic_write(target) as temporary:
        assert temporary.read_bytes() == b""
        temporary.write_bytes(b"all")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert target.read_bytes() == b"all"


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_write(target) as first:
        first.write_bytes(b"first")
        with atomic_write(target) as second:
            assert second != first
            second.write_bytes(b"second")
        assert target.read_bytes() == b"second"
    assert target.read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_many_writers_never_show_a_part(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    contents = [bytes([65 + i]) * 50_000 for i in range(4)]
    target.write_bytes(contents[0])
    seen = set()
    done = threading.Event()

    def write(content: bytes) -> None:
        for _ in range(25):
            with atomic_write(target, sync=False) as temporary:
                temporary.write_bytes(content)

    def read() -> None:
        while not done.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    reader.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert seen <= set(contents)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_json_round_trip_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, 2.5, None, "é"]})
    assert read_json(path) == {"b": [1, 2.5, None, "é"]}
    path.write_text('{"b": [1,')
    with pytest.raises(DataError, match=r"(?s)does not parse.*a\.json"):
        read_json(path)
    with pytest.raises(DataError, match=r"(?s)not found.*missing too.*run y"):
        read_json(tmp_path / "no" / "a.json", fix="run y")


def test_manifest_beside_folder_and_file(tmp_path: Path) -> None:
    folder, file = tmp_path / "store", tmp_path / "infos.pkl"
    folder.mkdir()
    file.write_bytes(b"x")
    assert manifest_path(folder) == folder / "manifest.json"
    assert manifest_path(file) == tmp_path / "infos.pkl.manifest.json"
    for target in (folder, file):
        written = write_manifest(target, "tool", {"size": 3}, 7, "there")
        first = written.read_bytes()
        manifest = read_manifest(target)
        assert manifest["parameters"] == {"size": 3}
        assert (manifest["tool"], manifest["count"], manifest["source"]) == ("tool", 7, "there")
        assert manifest["lidistill_version"]
        assert write_manifest(target, "tool", {"size": 3}, 7, "there").read_bytes() == first
    with pytest.raises(DataError, match="there is none"):
        write_manifest(tmp_path / "nothing", "tool", {}, 0, "")
    write_json(manifest_path(folder), {"other": 1})
    with pytest.raises(DataError, match=r"Expected a record with 'tool'"):
        read_manifest(folder)


WRITERS = {
    "bytes": "t.write_bytes(bytes(1 << 20))",
    "numpy": "import numpy; numpy.save(t, numpy.zeros(1 << 18))",
    "torch": "import torch; torch.save(torch.zeros(1 << 18), t)",
    "safetensors": "import torch; from safetensors.torch import save_file as s; "
    "s({'w': torch.zeros(1 << 18)}, t)",
    "json": "import json; t.write_text(json.dumps(list(range(1 << 18))))",
    "pillow": "import numpy; from PIL import Image; r = numpy.random.default_rng(0); "
    "Image.fromarray(r.integers(0, 256, (512, 512, 3), 'uint8')).save(t)",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_without_room_the_path_is_named_and_nothing_is_left(tmp_path: Path, writer: str) -> None:
    """A limit on the size of files stands for the full disk."""
    target = tmp_path / "there" / ("a.npy" if writer == "numpy" else "a.png")
    code = (
        "import resource\nfrom lidistill.io import DataError, atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"try:\n  with atomic_write({str(target)!r}) as t:\n    {WRITERS[writer]}\n"
        "except DataError as error:\n  print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "could not be written" in done.stdout, done.stderr
    assert str(target) in done.stdout
    assert list(target.parent.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    target = tmp_path / "file" / "a.bin"
    with pytest.raises(DataError, match="could not be written") as caught, atomic_write(target):
        pass
    assert caught.value.path == target


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_write(tmp_path / "a.bin") as temporary:
        temporary.write_bytes({}["half"])
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.bin"):
        (tmp_path / "other").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_an_equal_manifest_is_not_written_again(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "t", {"a": 1}, 2, "s")
    before = path.stat()
    write_manifest(tmp_path, "t", {"a": 1}, 2, "s")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_manifest(tmp_path, "t", {"a": 1}, 3, "s")
    assert read_manifest(tmp_path)["count"] == 3
