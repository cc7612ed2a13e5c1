# SPDX-License-Identifier: Apache-2.0
"""Which package's sparse convolutions run where, and that code of others finds them by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lidistill.compat import spconv_choice, spconv_names
from lidistill.compat.spconv_choice import Installed, answering, choose, extra
from tests.compat.marks import NEEDS_SPCONV
from tests.compat.sparse_encoders import report

NOTHING = Installed()
CPU = Installed("spconv")
CUDA = Installed("spconv-cu126")
TRITON = Installed(triton=True)
BOTH = Installed("spconv-cu126", triton=True)
BUILT = Installed("a build of its own")


@pytest.mark.parametrize(
    ("device", "installed", "capability", "forced", "backend", "reason"),
    [
        ("cpu", NOTHING, None, "", "own", "right at any number of threads"),
        ("cpu", BOTH, None, "", "own", "right at any number of threads"),
        ("cpu", BOTH, None, "spconv", "own", "right at any number of threads"),
        ("cuda", CUDA, (9, 0), "", "spconv", "spconv-cu126 has kernels"),
        ("cuda", CUDA, (7, 5), "", "spconv", "spconv-cu126 has kernels"),
        ("cuda", BOTH, (9, 0), "", "spconv", "spconv-cu126 has kernels"),
        ("cuda", BUILT, (9, 0), "", "spconv", "a build of its own has kernels"),
        ("cuda", BOTH, (9, 0), "triton", "triton", "asked for by LIDISTILL_SPARSE"),
        ("cuda", BOTH, (10, 0), "", "triton", "end with compute capability 9.0, this GPU has 10.0"),
        ("cuda", BOTH, (12, 0), "", "triton", "this GPU has 12.0"),
        ("cuda", BOTH, (12, 0), "spconv", "", "asked for by LIDISTILL_SPARSE, but spconv's wheels"),
        ("cuda", CUDA, (12, 0), "", "", "12.0, and spconv-triton is not installed"),
        ("cuda", TRITON, (8, 6), "", "triton", "spconv is not installed"),
        ("cuda", Installed("spconv", True), (8, 6), "", "triton", "for the CPU alone"),
        ("cuda", CPU, (8, 6), "", "", "for the CPU alone, and spconv-triton is not installed"),
        ("cuda", NOTHING, (8, 6), "", "", "not installed, and spconv-triton is not installed"),
        ("cuda", CUDA, (9, 0), "triton", "", "spconv-triton is not installed"),
        ("cuda", BOTH, (9, 0), "own", "", "lidistill's own kernels are for the CPU"),
        ("hip", BOTH, (9, 4), "", "triton", "for NVIDIA's GPUs alone"),
        ("hip", CUDA, (9, 4), "", "", "for NVIDIA's GPUs alone, and spconv-triton is not"),
        ("hip", TRITON, None, "", "triton", "spconv is not installed"),
    ],
)
def test_choice(device, installed, capability, forced, backend, reason):
    found = choose(device, installed, capability, forced)
    assert found.backend == backend
    assert reason in found.why
    assert bool(found.fix) == (backend == "")


@pytest.mark.parametrize(
    ("installed", "gpu", "forced", "expected"),
    [
        (NOTHING, ("cpu",), "", "own"),
        (CPU, ("cpu",), "", "spconv"),
        (TRITON, ("cpu",), "", "own"),
        (CUDA, ("cuda", (9, 0)), "", "spconv"),
        (BOTH, ("cuda", (12, 0)), "", "triton"),
        (TRITON, ("cuda", None), "", "triton"),
        (TRITON, ("hip", None), "", "triton"),
        (CUDA, ("cuda", (12, 0)), "", "spconv"),  # its layers still run on the CPU
        (NOTHING, ("cuda", (8, 0)), "", "own"),
        (BOTH, ("cuda", (9, 0)), "own", "own"),
        (BOTH, ("cpu",), "triton", "triton"),
        (BOTH, ("cuda", (12, 0)), "spconv", "spconv"),
    ],
)
def test_who_answers(installed, gpu, forced, expected):
    assert answering(installed, *gpu, forced=forced) == expected


@pytest.mark.parametrize(
    ("forced", "message"),
    [
        ("tritn", "one of own, spconv, triton, got 'tritn'"),
        ("triton", "spconv-triton is not installed: pip install"),
        ("spconv", "spconv is not installed: pip install spconv==2.3.8"),
    ],
)
def test_a_forced_backend_that_is_not_there_is_refused(forced, message, monkeypatch):
    with pytest.raises(ValueError, match=message):
        answering(NOTHING, forced=forced)
    monkeypatch.delitem(sys.modules, "spconv", raising=False)
    monkeypatch.setenv(spconv_choice.VARIABLE, forced)
    monkeypatch.setattr(spconv_choice, "look", lambda: NOTHING)
    with pytest.raises(ValueError, match=message):
        spconv_names.install()


def test_a_package_that_is_imported_already_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "spconv", sys)
    monkeypatch.setenv(spconv_choice.VARIABLE, "own")
    assert spconv_choice.answer.__wrapped__() == "spconv"
    with pytest.raises(ValueError, match="import lidistill first"):
        spconv_names.install()


@pytest.mark.parametrize(
    ("device", "capability", "cuda", "python", "expected"),
    [
        ("cpu", None, None, (3, 11), "cpu"),
        ("cpu", None, "12.6", (3, 14), "cpu"),  # its marker leaves spconv out where no wheel is
        ("cuda", (8, 6), "12.1", (3, 11), "cu120"),
        ("cuda", (8, 6), "12.1", (3, 12), "cu126"),
        ("cuda", (9, 0), "12.6", (3, 11), "cu126"),
        ("cuda", None, "13.0", (3, 13), "cu126"),
        ("cuda", (9, 0), "13.0", (3, 14), "triton"),
        ("cuda", (9, 0), "13.0", (99, 0), "triton"),
        ("cuda", (12, 0), "13.0", (3, 12), "triton"),
        ("hip", (9, 4), None, (3, 12), "triton"),
    ],
)
def test_extra(device, capability, cuda, python, expected):
    assert extra(device, capability, cuda, python) == expected


def test_cuda_is_left_alone_where_it_changes_nothing(monkeypatch):
    monkeypatch.delenv(spconv_choice.VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "spconv", raising=False)
    monkeypatch.setattr(spconv_choice, "gpu", lambda **_: pytest.fail("asked"))
    for installed in (NOTHING, CUDA):
        monkeypatch.setattr(spconv_choice, "look", lambda found=installed: found)
        spconv_choice.answer.__wrapped__()


def run(script: str, **environment: str):
    """What ``script`` prints last in a fresh interpreter, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


ABSENT = """
import json, sys
from importlib.machinery import PathFinder
from lidistill.compat import spconv_choice, spconv_names

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("spconv", "cumm", "pccm"):
            raise ModuleNotFoundError(f"{name} is not to be imported here", name=name)

sys.meta_path.insert(sys.meta_path.index(PathFinder), Refuse())
spconv_choice.look = lambda: spconv_choice.Installed()
"""


@pytest.fixture(scope="module")
def without_spconv():
    pytest.importorskip("mmdet3d")
    script = "from tests.compat.sparse_encoders import report\nprint(json.dumps(report()))"
    return run(f"{ABSENT}\n{script}")


def test_mmdet3d_builds_and_trains_without_any_spconv_package(without_spconv):
    available, registered, home, numbers = without_spconv
    assert available
    assert registered
    assert home == "lidistill.ops.spconv.pytorch.conv"
    assert all(value > 0 for value in numbers)


@NEEDS_SPCONV
def test_mmdet3d_computes_the_same_bit_by_bit_on_spconvs_classes(without_spconv):
    *_, home, numbers = report()
    assert home == "spconv.pytorch.conv"
    assert numbers == without_spconv[-1]


def test_names_of_spconv_lead_to_our_modules_where_the_variable_says_so():
    script = """
import json, sys
from lidistill import compat; compat.apply(); compat.apply()
import spconv, spconv.pytorch.conv
import spconv.pytorch as pytorch
from spconv.core import ConvAlgo
import lidistill.ops.spconv.pytorch.conv as own

same = [spconv.pytorch.conv is own, pytorch.conv is own, ConvAlgo is spconv.ConvAlgo]
said = []
for name in ("functional", "NoSuchLayer"):
    try:
        getattr(pytorch, name)
    except AttributeError as error:
        said.append(str(error))
for line in ("from spconv.pytorch import functional", "import spconv.utils"):
    try:
        exec(line)
    except ImportError as error:
        said.append(type(error).__name__)
print(json.dumps([same, own.__spec__.name, spconv.__version__, said, "cumm" in sys.modules]))
"""
    same, spec, version, said, foreign = run(script, LIDISTILL_SPARSE="own")
    assert same == [True] * 3
    assert spec == "lidistill.ops.spconv.pytorch.conv"
    assert version == "2.3.8"
    assert "spconv.pytorch.functional" in said[0]
    assert "LIDISTILL_SPARSE=own" in said[1]
    assert said[2:] == ["ImportError", "ModuleNotFoundError"]
    assert not foreign


TRITON_PACKAGE = {
    "__init__": "from spconv_triton.core import ConvAlgo, AlgoHint\n"
    "from spconv_triton import constants\n__version__ = '1.0.0'\n"
    "SPCONV_VERSION_NUMBERS = [2, 3, 8]",
    "constants": "",
    "core": "class ConvAlgo: pass\nclass AlgoHint: pass",
    "pytorch/__init__": "from spconv_triton.pytorch.conv import SubMConv3d\n"
    "from spconv_triton.pytorch.core import SparseConvTensor\n"
    "from spconv_triton.pytorch import pool",
    "pytorch/core": "class SparseConvTensor:\n    def __init__(self, features, indices): pass",
    "pytorch/conv": "class SparseConvolutionBase:\n"
    "    def _conv_forward(self, training, x): return 'theirs'\n"
    "class SubMConv3d(SparseConvolutionBase): pass",
    "pytorch/pool": "class SparseMaxPool:\n    def forward(self, x): return 'theirs'\n"
    "class SparseAvgPool(SparseMaxPool): forward = lambda self, x: 'theirs'\n"
    "class SparseGlobalMaxOrAvgPool(SparseMaxPool): forward = lambda self, x: 'theirs'",
}


def test_spconv_triton_answers_by_spconvs_name_and_is_bridged(tmp_path):
    """A package of its shape: the real one needs Triton, which is for GPUs."""
    for name, text in {f"spconv_triton/{k}": v for k, v in TRITON_PACKAGE.items()}.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "triton.py").touch()
    script = """
import json, sys
from lidistill import compat; compat.apply()
import spconv, spconv.pytorch
from spconv.pytorch.conv import SparseConvolutionBase as base
from spconv.pytorch.pool import SparseMaxPool as pool
import spconv_triton.pytorch.conv as real

class On:
    is_quantized = False
    def __init__(self, device):
        import torch
        self.features = torch.empty(1, 1, device=device)

layer = real.SubMConv3d()
layer.act_type = On("meta"); layer.act_type.value = 0
print(json.dumps([
    spconv.__version__, sys.modules["spconv.pytorch.conv"] is real,
    base._conv_forward.__wrapped__.__module__, pool.forward.__wrapped__.__module__,
    layer._conv_forward(True, On("meta")), pool().forward(On("meta")),
]))
"""
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    found = run(script, LIDISTILL_SPARSE="triton", PYTHONPATH=path)
    conv, pool = "spconv_triton.pytorch.conv", "spconv_triton.pytorch.pool"
    assert found == ["2.3.8", True, conv, pool, "theirs", "theirs"]
