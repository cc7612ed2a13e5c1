# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's networks on torchsparse, small, from a fixed seed, and what they make of points.

Used in the test's process and by the interpreter that has torchsparse itself.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

SIZES = {
    "in_channels": 4,
    "base_channels": 6,
    "encoder_blocks": [1, 2, 1, 1],
    "decoder_blocks": [1, 1, 2, 1],
}
KINDS = ("MinkUNetBackbone", "MinkUNetBackboneV2", "SPVCNNBackbone")


def build(kind: str, **kwargs: object) -> nn.Module:
    """The network in double precision, its norms and biases not as they begin."""
    from mmdet3d.models import backbones

    torch.manual_seed(0)
    channels = {"encoder_channels": [6, 8, 10, 12], "decoder_channels": [12, 10, 8, 8]}
    network: nn.Module = getattr(backbones, kind)(**SIZES, **channels, **kwargs).double()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network


def voxels(seed: int, samples: int = 2, extent: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (V, 4) double and coordinates (V, 4) int32, x y z sample, on a curved surface.

    The grid's first and last cell are there, so its size is ``extent``.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for sample in range(samples):
        x, y = rng.integers(0, extent, (2, 250))
        z = np.clip((6 + 4 * np.sin(x / 5) + 4 * np.cos(y / 4)).astype(int), 0, extent - 1)
        cells = np.stack([x, y, z], 1)
        cells = np.unique(np.concatenate([cells, [[0] * 3, [extent - 1] * 3]]), axis=0)
        rows.append(np.column_stack([cells, np.full(len(cells), sample)]))
    coords = torch.from_numpy(np.concatenate(rows).astype(np.int32))
    return torch.from_numpy(rng.normal(size=(len(coords), 4))), coords
