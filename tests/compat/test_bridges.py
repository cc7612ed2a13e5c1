# SPDX-License-Identifier: Apache-2.0
"""What `lidistill.compat` promises: light, idempotent, lazy, described."""

from __future__ import annotations

import json
import subprocess
import sys
import types

import pytest

from lidistill import compat
from lidistill.compat.imports import when_imported
from tests.compat.marks import NEEDS_SPCONV


def test_every_bridge_has_a_name_and_a_reason():
    compat.apply()
    bridges = compat.bridges()
    assert len({b.name for b in bridges}) == len(bridges) >= 5
    assert all(len(b.reason) > 30 for b in bridges)
    assert all(b.active for b in bridges if b.name != "mmcv-ext")


def fresh(script):
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_applying_imports_none_of_the_libraries_it_mends():
    script = """
import json, sys
from lidistill import compat
before = [b.active for b in compat.bridges()]
compat.apply()
heavy = ["spconv", "mmengine", "mmdet3d", "mmcv", "numba", "cumm"]
print(json.dumps([any(before), [name for name in heavy if name in sys.modules]]))
"""
    assert fresh(script) == [False, []]


@NEEDS_SPCONV
def test_order_of_import_and_apply_does_not_matter_and_twice_is_once():
    script = """
import json
{first}
{second}
compat.apply()
compat.apply()
from spconv.pytorch.conv import SparseConvolutionBase as base
from spconv.pytorch.pool import SparseMaxPool as pool
from spconv.pytorch.core import SparseConvTensor as tensor
patched = [base._conv_forward, pool.forward, tensor.__init__]
once = [hasattr(f, "__wrapped__") and not hasattr(f.__wrapped__, "__wrapped__") for f in patched]
print(json.dumps(once))
"""
    bridge, library = "from lidistill import compat; compat.apply()", "import spconv.pytorch"
    assert fresh(script.format(first=bridge, second=library)) == [True] * 3
    assert fresh(script.format(first=library, second=bridge)) == [True] * 3


@pytest.fixture
def module_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def test_callbacks_run_once_after_the_module_is_executed(module_file):
    module_file("awaited_one", "value = 1")
    seen = []
    when_imported("awaited_one", lambda module: seen.append(module.value))
    when_imported("awaited_one", lambda module: seen.append(module.value + 1))
    assert seen == []
    import awaited_one

    assert seen == [1, 2]
    assert isinstance(awaited_one, types.ModuleType)
    assert type(awaited_one.__spec__.loader).__name__ == "SourceFileLoader"
    when_imported("awaited_one", lambda module: seen.append(3))
    assert seen == [1, 2, 3]


def test_a_module_that_fails_to_import_fails_as_without_a_bridge(module_file):
    module_file("awaited_two", "raise RuntimeError('broken')")
    seen = []
    when_imported("awaited_two", seen.append)
    with pytest.raises(RuntimeError, match="broken"):
        import awaited_two  # noqa: F401
    module_file("awaited_two", "value = 2")
    import awaited_two as second

    assert seen == [second]


def test_a_missing_module_stays_missing():
    when_imported("awaited_nowhere", lambda module: None)
    with pytest.raises(ModuleNotFoundError):
        import awaited_nowhere  # noqa: F401


def test_info_files_of_foreign_data_sets_run_no_code(tmp_path):
    script = f"""
import json, pickle
from pathlib import Path
from lidistill import compat
compat.apply()
from mmengine.dataset import BaseDataset

class Evil:
    def __reduce__(self):
        return Path.touch, (Path({str(tmp_path)!r}, "ran"),)

said = []
path = Path({str(tmp_path)!r}, "infos.pkl")
for frames in ([Evil()], [], [{{"img_path": "a.png"}}]):
    path.write_bytes(pickle.dumps({{"metainfo": {{}}, "data_list": frames}}))
    try:
        said.append(len(BaseDataset(str(path), pipeline=[])))
    except ValueError as error:
        said.append(str(error))
print(json.dumps(said))
"""
    refused, empty, one = fresh(script)
    assert "Refused" in refused
    assert "infos.pkl" in refused
    assert "0 frames" in empty
    assert "infos.pkl" in empty
    assert one == 1
    assert not (tmp_path / "ran").exists()
