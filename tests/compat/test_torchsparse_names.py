# SPDX-License-Identifier: Apache-2.0
"""Code of others finds our torchsparse by name, and its own where that is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(script: str, *paths: Path):
    """What ``script`` prints last in a fresh interpreter, as JSON."""
    path = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_names_lead_to_our_modules():
    script = """
import json, sys
from lidistill import compat; compat.apply(); compat.apply()
early = [name for name in sys.modules if "torchsparse" in name]
import torchsparse.nn.functional as functional
from torchsparse import nn
from torchsparse.tensor import SparseTensor
import lidistill.ops.torchsparse as own

same = [
    sys.modules["torchsparse"] is own, nn is own.nn, functional is own.nn.functional,
    SparseTensor is own.SparseTensor, own.__spec__.name == own.__name__,
]
try:
    import torchsparse.backend
except ModuleNotFoundError as error:
    said = str(error)
active = {bridge.name: bridge.active for bridge in compat.bridges()}["torchsparse-names"]
who = compat.torchsparse_names.said()
print(json.dumps([early, same, said, active, who, sys.modules["torchsparse"].__version__]))
"""
    early, same, said, active, who, version = run(script)
    assert early == ["lidistill.compat.torchsparse_names"]
    assert same == [True] * 5
    assert said == "No module named 'torchsparse.backend'"
    assert active
    assert who.startswith("not installed: lidistill answers")
    assert version == "1.4.0"


@pytest.mark.parametrize("first", [True, False])
def test_where_torchsparse_is_installed_it_answers(tmp_path, first):
    """A package of its shape, imported before lidistill or behind it."""
    (tmp_path / "torchsparse" / "nn").mkdir(parents=True)
    (tmp_path / "torchsparse" / "__init__.py").write_text("theirs = True\n")
    (tmp_path / "torchsparse" / "nn" / "__init__.py").write_text("theirs = True\n")
    script = f"""
import json
{"import torchsparse" if first else ""}
from lidistill import compat; compat.apply()
import torchsparse.nn
active = {{bridge.name: bridge.active for bridge in compat.bridges()}}["torchsparse-names"]
found = compat.torchsparse_names.said()
print(json.dumps([torchsparse.theirs, torchsparse.nn.theirs, active, found]))
"""
    found = run(script, tmp_path)
    assert found == [True, True, False, "its own package answers `import torchsparse`"]


def test_mmdet3d_registers_our_layers():
    pytest.importorskip("mmdet3d")
    script = """
import json
from lidistill import compat; compat.apply()
from mmdet3d.registry import MODELS
from mmdet3d.models.layers.torchsparse import IS_TORCHSPARSE_AVAILABLE
names = ("Conv3d", "BN", "SyncBN", "GN", "ReLU", "LeakyReLU")
homes = [MODELS.get(f"TorchSparse{name}").__mro__[0].__module__ for name in names]
print(json.dumps([IS_TORCHSPARSE_AVAILABLE, homes]))
"""
    available, homes = run(script)
    assert available
    ours = [home for home in homes if home == "lidistill.ops.torchsparse.nn.modules"]
    assert len(ours) == len(homes) - 1  # mmdet3d has its own TorchSparseSyncBN
