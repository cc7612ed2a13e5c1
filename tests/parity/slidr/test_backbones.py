# SPDX-License-Identifier: Apache-2.0
"""VoxelNet's output and the parameter names and shapes of SLidR's checkpoints."""

import json
import math

import numpy as np
import pytest
import torch

from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.backbones.voxelnet import VoxelNet
from tests.conftest import parity_files


@pytest.fixture(autouse=True)
def one_model_seed():
    torch.manual_seed(0)


def set_weights(model):
    """The rule of the README: a function of the parameter's position and of the element."""
    for i, parameter in enumerate(model.parameters()):
        t = torch.arange(parameter.numel(), dtype=torch.float64)
        if parameter.ndim == 5:
            fan = math.prod(parameter.shape[1:])
            values = 2 * torch.sin(0.7 * t + 1.3 * i) / math.sqrt(fan)
        elif is_bias(model, i):
            values = 0.05 * torch.cos(0.9 * t + i)
        else:
            values = 1 + 0.1 * torch.sin(0.5 * t + i)
        with torch.no_grad():
            parameter.copy_(values.view(parameter.shape))


def is_bias(model, index):
    return [name for name, _ in model.named_parameters()][index].endswith("bias")


@pytest.mark.parametrize("path", parity_files("slidr", "voxelnet_forward_*.npz"))
def test_voxelnet_forward(path):
    data = np.load(path)
    model = VoxelNet().eval()
    set_weights(model)
    coords = torch.from_numpy(data["voxel_coords_bzyx"])
    batch_size = int(data["out_shape"][0])
    with torch.no_grad():
        bev = model(
            torch.from_numpy(data["voxel_feats"]), coords, (40, 1024, 1024), batch_size
        ).numpy()
    assert bev.shape == tuple(data["out_shape"])
    cells = np.argwhere(np.abs(bev).sum(1) > 0)
    expected = data["out_cells"][np.lexsort(data["out_cells"].T[::-1])]
    np.testing.assert_array_equal(cells, expected)
    batch, row, column = data["out_cells"].T
    np.testing.assert_allclose(bev[batch, :, row, column], data["out_values"], atol=2e-6)


@pytest.mark.parametrize("path", parity_files("slidr", "state_dict_keys*.json"))
def test_voxelnet_names_and_shapes(path):
    expected = json.loads(path.read_text())["model_points_voxelnet_spconv2"]
    model = VoxelNet()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == expected["keys"]
    assert sum(p.numel() for p in model.parameters()) == expected["n_params"]


def spconv_shape(shape):
    """MinkowskiEngine [K^3, in, out] -> spconv [out, k, k, k, in]; [in, out] -> [out, in]."""
    if len(shape) == 3:
        k = round(shape[0] ** (1 / 3))
        return [shape[2], k, k, k, shape[1]]
    return shape[::-1]


@pytest.mark.parametrize("path", parity_files("slidr", "state_dict_keys*.json"))
def test_sparse_unet_names_and_shapes(path):
    expected = json.loads(path.read_text())["model_points_minkunet34c"]
    translated = {}
    for name, shape in expected["keys"].items():
        ours = name.replace(".bn.", ".").replace(".kernel", ".weight")
        if name.endswith("kernel"):
            translated[ours] = spconv_shape(shape)
        else:
            translated[ours] = shape[1:] if name == "final.bias" else shape
    model = SparseUNet()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == translated
    assert list(shapes) == list(translated)
    assert sum(p.numel() for p in model.parameters()) == expected["n_params"]
