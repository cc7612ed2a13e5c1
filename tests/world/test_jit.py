# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numba

import lidistill.world
from lidistill.jit import SAID
from lidistill.world import jit


def test_every_change_of_the_source_gives_another_folder(monkeypatch, tmp_path):
    (tmp_path / "room").mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(jit, "SOURCES", (tmp_path, *jit.SOURCES))
    folders = []
    for place, text in (("a.py", "1"), ("room/b.py", "1"), ("room/b.py", "2")):
        (tmp_path / place).write_text(text)
        folders.append(jit.cache_folder.__wrapped__())
    assert len(set(folders)) == 3


def test_all_of_the_world_takes_part():
    folder = Path(lidistill.world.__file__).parent
    assert folder in jit.SOURCES
    for path in folder.rglob("*.py"):
        assert "lidistill.jit" not in path.read_text() or path.name == "jit.py", path


def test_numbas_own_cache_folder_is_left_as_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    jit.kernel(lambda x: x)
    assert str(tmp_path) == numba.config.CACHE_DIR


def test_cache_folder_is_the_first_that_can_be_written(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = jit.cache_folder.__wrapped__()
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "lidistill")


def test_without_any_folder_one_line_says_so(monkeypatch, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setenv(SAID, "")  # so that it is put back
    monkeypatch.delenv(SAID)
    assert jit.cache_folder.__wrapped__() is None
    assert "NUMBA_CACHE_DIR" in capsys.readouterr().err


def test_without_any_folder_kernels_still_compile(monkeypatch):
    monkeypatch.setattr(jit, "cache_folder", lambda: None)
    assert jit.kernel(lambda x: x + 1)(2) == 3


def test_fastmath_stays_off():
    from lidistill.world.sensing.caster import cast_kernel

    assert not cast_kernel.targetoptions.get("fastmath")
    assert cast_kernel.targetoptions["nogil"]
