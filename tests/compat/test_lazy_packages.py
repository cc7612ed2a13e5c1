# SPDX-License-Identifier: Apache-2.0
"""OpenMMLab's packages opened lazily: every name and every registered class is what it was."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lidistill import compat
from lidistill.compat import lazy_packages

compat.apply()
pytest.importorskip("mmdet3d")

REGISTERED = """
import json, sys
from lidistill import compat
names = json.load(sys.stdin)  # empty: import everything as OpenMMLab does
if not names:
    compat.lazy_packages.ROOTS = ()
compat.apply()
import mmengine.hooks, mmengine.model, mmengine.optim, mmengine.registry, mmengine.runner
import mmdet.registry, mmdet3d.registry
registries = {
    f"{owner.__name__} {kind}": registry
    for owner in (mmengine, mmdet, mmdet3d)
    for kind, registry in vars(owner.registry).items()
    if isinstance(registry, mmengine.registry.Registry) and kind != "INFERENCERS"
}  # mmdet3d's inferencers say that they are in mmdet3d.api, which is not there
for registry in registries.values():
    registry.import_from_location()
homes = {
    key: {name: registry.get(name) for name in names[key]} if names else registry.module_dict
    for key, registry in registries.items()
}
homes = {
    key: {n: kind and f"{kind.__module__}.{kind.__qualname__}" for n, kind in found.items()}
    for key, found in homes.items()
}
print("REPORT", json.dumps(homes))
"""


def report(script, given=""):
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=600,
        input=given, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("REPORT"))
    return json.loads(line.removeprefix("REPORT"))


@pytest.mark.slow
def test_registries_hold_the_same_classes():
    eager = report(REGISTERED, "{}")
    assert sum(map(len, eager.values())) > 800
    names = {key: sorted(homes) for key, homes in eager.items()}
    assert report(REGISTERED, json.dumps(names)) == eager


def test_training_a_small_detector_leaves_the_heavy_ones_alone():
    script = """
import json, sys
import torch
from mmengine.config import Config
from lidistill.models.detectors.mmdet3d import mmdet3d_detector
from mmengine.optim import build_optim_wrapper
config = Config.fromfile("configs/detection/pointpillars_world.py").detector
model = mmdet3d_detector(**{k: v for k, v in config.items() if k != "type"})
wrapper = build_optim_wrapper(model, dict(optimizer=dict(type="AdamW", lr=0.1)))
for parameter in model.parameters():
    parameter.grad = torch.ones_like(parameter)
wrapper.step()
wrapper.zero_grad()
state = wrapper.state_dict()
heavy = ["transformers", "sklearn", "pandas", "sympy", "torch._dynamo", "scipy.optimize",
         "matplotlib.figure", "open3d", "nuscenes", "spconv", "torch.distributed.tensor"]
print("REPORT", json.dumps([name for name in heavy if name in sys.modules]))
"""
    assert report(script) == []


@pytest.mark.parametrize("package", ["mmdet3d.models", "mmengine.runner", "mmdet.models.losses"])
def test_a_package_is_read_without_being_run(package):
    spec = importlib.util.find_spec(package)
    homes = lazy_packages.names_of(package, Path(spec.origin))
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(homes)
    assert set(homes) <= set(dir(module))
    for name in list(homes)[:40]:
        home, attribute = homes[name]
        owner = importlib.import_module(home)
        assert getattr(module, name) is (owner if attribute is None else getattr(owner, attribute))


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two toy packages below a root that is opened lazily."""
    write(
        tmp_path,
        {
            "toyroot/__init__.py": '"""Toys."""\nfrom .inner import *\nfrom .area import area\n'
            "from . import late\n__all__ = ['Circle', 'area', 'late']\n",
            "toyroot/inner/__init__.py": "from .circle import Circle, _hidden\n",
            "toyroot/inner/circle.py": "class Circle: pass\n_hidden = 1\n",
            "toyroot/area.py": "def area(): return 7\n",
            "toyroot/late.py": "value = 3\n",
            "toyroot/busy/__init__.py": "from ..area import area\ndone = area()\n",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lazy_packages, "ROOTS", ("toyroot",))
    monkeypatch.setattr(lazy_packages, "_NAMES", lazy_packages._Names())
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "toyroot"]:
        del sys.modules[name]


def test_names_come_when_they_are_taken(packages):
    import toyroot

    assert not [name for name in sys.modules if name.startswith("toyroot.")]
    assert set(toyroot.__all__) == {"Circle", "area", "late"}
    assert toyroot.Circle.__module__ == "toyroot.inner.circle"
    assert toyroot.late.value == 3
    assert toyroot.inner._hidden == 1
    with pytest.raises(AttributeError, match="'toyroot' has no attribute 'Square'"):
        toyroot.Square  # noqa: B018


def test_a_module_does_not_hide_the_function_of_its_name(packages):
    import toyroot
    import toyroot.area

    assert toyroot.area() == 7
    from toyroot import area

    assert area() == 7


def test_a_package_that_does_more_than_collect_runs(packages):
    import toyroot.busy

    assert toyroot.busy.done == 7
