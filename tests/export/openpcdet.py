# SPDX-License-Identifier: Apache-2.0
"""A checkout of OpenPCDet loads an export by its own code and computes a map, on the CPU.

    python -m tests.export.openpcdet CHECKOUT EXPORTED.pth MAP.pt

What it compiles for CUDA, and packages that its other models import, are empty modules here: its
SECOND is networks of spconv and torch up to the map.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import logging
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from lidistill import compat
from tests.export.samples import GRID, voxels

ABSENT = (
    "SharedArray",
    "av2",
    "easydict",
    "kornia",
    "tensorboardX",
    "torch_scatter",
    "torchvision",
)


class _Nothing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An empty module for all that is not built here; whatever it is asked for is a class."""

    def find_spec(self, name, path=None, target=None):
        absent = name.split(".")[0] in ABSENT or name.endswith(("_cuda", "_ext"))
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec):
        module = ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = _a_class
        return module

    def exec_module(self, module):
        if module.__name__ == "easydict":
            module.EasyDict = _Dict


class _Dict(dict):
    """What easydict is: keys are attributes."""

    def __init__(self, content=None):
        super().__init__()
        self.update(content or {})

    def __setitem__(self, key, value):
        super().__setitem__(key, _wrapped(value))

    __setattr__ = __setitem__

    def __getattr__(self, key):
        if key in self:
            return self[key]
        raise AttributeError(key)

    def update(self, content):
        for key, value in content.items():
            self[key] = value


def _wrapped(value):
    if isinstance(value, list):
        return [_wrapped(item) for item in value]
    return _Dict(value) if isinstance(value, dict) and not isinstance(value, _Dict) else value


def _a_class(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def main(checkout: Path, exported: Path, out: Path) -> None:
    compat.apply()
    sys.meta_path.append(_Nothing())
    sys.path.insert(0, str(checkout))
    sys.modules["pcdet.version"] = ModuleType("pcdet.version")  # its setup.py writes it
    sys.modules["pcdet.version"].__version__ = "checkout"
    torch.Tensor.cuda = lambda tensor, *_: tensor
    torch.jit.script = lambda function, *_, **__: function

    from pcdet.config import cfg, cfg_from_yaml_file
    from pcdet.models import build_network

    os.chdir(checkout / "tools")
    cfg_from_yaml_file("cfgs/kitti_models/second.yaml", cfg)
    cells = np.array([GRID[2], GRID[1], GRID[0] - 1])  # x, y, z
    size = np.array([0.05, 0.05, 0.1])
    data = SimpleNamespace(
        class_names=cfg.CLASS_NAMES,
        point_feature_encoder=SimpleNamespace(num_point_features=4),
        depth_downsample_factor=None,
        voxel_size=size.tolist(),
        grid_size=cells,
        point_cloud_range=np.array([0, 0, 0, *(cells * size)], dtype=np.float32),
    )
    network = build_network(cfg.MODEL, len(cfg.CLASS_NAMES), data).eval()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    network.load_params_from_file(str(exported), logging.getLogger(), to_cpu=True)
    features, coords = voxels(4)
    batch = {"voxel_features": features, "voxel_coords": coords, "batch_size": 2}
    with torch.no_grad():
        torch.save(network.map_to_bev_module(network.backbone_3d(batch))["spatial_features"], out)


if __name__ == "__main__":
    main(*(Path(word).resolve() for word in sys.argv[1:]))
