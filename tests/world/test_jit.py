# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numba

import lidistill.world
from lidistill.jit import SAID
from lidistill.world import jit


def test_every_module_with_kernels_takes_part_in_the_cache_key():
    folder = Path(lidistill.world.__file__).parent
    users = {
        p.stem for p in folder.glob("*.py") if "from lidistill.world.jit import" in p.read_text()
    }
    assert users <= set(jit.SOURCES)
    assert set(jit.SOURCES) >= {"jit", "materials"}  # options and constants are compiled in too


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
