# SPDX-License-Identifier: Apache-2.0
"""Students with uneven weights, their training checkpoints, files of SLidR, voxels."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lidistill.models.backbones.sparse_blocks import lay_out, sparse_tensor
from tests.export import minkowski
from tests.export.minkowski import random_state

SIZES = {
    "in_channels": minkowski.CHANNELS,
    "stem": minkowski.STEM,
    "planes": minkowski.PLANES,
    "blocks": minkowski.BLOCKS,
}
GRID = (41, 32, 24)  # z, y, x


def shake(model, seed=0):
    """Weights large enough, and norms uneven enough, that any mix-up shows."""
    random = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor, low in ((module.weight, 0.5), (module.running_var, 0.5),
                                (module.bias, -0.2), (module.running_mean, -0.2)):  # fmt: skip
                tensor.data.copy_(torch.rand(tensor.shape, generator=random) + low)
            module.num_batches_tracked.fill_(5)
        elif hasattr(module, "weight") and module.weight is not None:
            fan = module.weight[0].numel()
            values = torch.randn(module.weight.shape, generator=random) * (3 / fan) ** 0.5
            module.weight.data.copy_(values)
    return model.eval()


def voxels(channels, shape=GRID, count=400, seed=0):
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(0, (2, *shape), (count, 4)), axis=0)
    cells = np.concatenate([cells, [[1, *(n - 1 for n in shape)]]])  # the far corner, last
    coords = torch.from_numpy(np.unique(cells, axis=0)).int().contiguous()
    random = torch.Generator().manual_seed(seed)
    return torch.randn(len(coords), channels, generator=random), coords


def checkpoint(path, student, **connectors):
    """A training checkpoint of lidistill."""
    state = {f"student.{name}": tensor for name, tensor in student.state_dict().items()}
    for name, module in connectors.items():
        for leaf, tensor in module.state_dict().items():
            state[f"connectors.{name}.{leaf}"] = tensor
    momentum = {0: {"momentum_buffer": torch.zeros(3)}}
    torch.save({"meta": {"iter": 3}, "state_dict": state, "optimizer": {"state": momentum}}, path)
    return state


def bev_before_final(model, features, coords):
    """VoxelNet up to ``conv_out``: what detectors take, (B, C * Z, Y, X)."""
    x = sparse_tensor(features, coords, GRID, 2)
    for stage in (model.conv_input, model.conv1, model.conv2, model.conv3, model.conv4):
        x = stage(x)
    return lay_out(model.conv_out(x)).flatten(1, 2)


def slidr_file(path, prefix="", state=None, **more):
    """A checkpoint as SLidR writes it, with a config beside its tensors."""
    state = state or random_state()
    images = {
        "encoder.conv1.weight": torch.randn(8, 3, 7, 7),
        "decoder.0.weight": torch.randn(6, 8, 1, 1),
        "decoder.0.bias": torch.randn(6),
    }
    config = {"voxel_size": 0.1, "cylindrical_coordinates": True, "losses": ["loss"], "lr": 0.5}
    content = {
        "model_points": {prefix + name: tensor for name, tensor in state.items()},
        "model_images": images,
        "epoch": 50,
        "config": config,
        **more,
    }
    torch.save(content, path)
    return content
