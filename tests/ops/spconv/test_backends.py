# SPDX-License-Identifier: Apache-2.0
"""Every layer on every backend that this machine has, against dense convolutions.

On the CPU in float64, on a GPU in float32. spconv's and spconv-triton's layers are there wherever
the package is installed; their CPU tensors go through the bridge.
"""

from __future__ import annotations

from collections import OrderedDict
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lidistill import compat
from lidistill.compat import spconv_choice
from tests.compat.dense import (
    check_against_dense,
    dense_strided,
    dense_submanifold,
    dense_transposed,
)
from tests.ops.sparse_cases import Grid, random_grid

compat.apply()
OWN = "lidistill.ops.spconv.pytorch"


def backends():
    """(package of layers, device) of all that can run here."""
    installed = spconv_choice.look()
    device, capability = spconv_choice.gpu()
    cases = [("own", OWN, "cpu")]
    there = {"spconv": installed.spconv, "triton": installed.triton}
    packages = {"spconv": "spconv.pytorch", "triton": "spconv_triton.pytorch"}
    for name in [name for name, found in there.items() if found]:
        if name == "spconv" and spconv_choice.answer() != "spconv":
            continue  # another package answers in this process
        cases.append((name, packages[name], "cpu"))
        if device != "cpu":
            choice = spconv_choice.choose(device, installed, capability, forced=name)
            cases += [(name, packages[name], "cuda")] if choice.backend else []
    return [
        pytest.param(case, id=f"{case[0]}-{case[2]}", marks=pytest.mark.gpu)
        if case[2] == "cuda"
        else pytest.param(case, id=f"{case[0]}-{case[2]}")
        for case in cases
    ]


class Backend:
    """A package of layers on a device."""

    def __init__(self, name, package, device):
        self.name, self.device = name, device
        self.layers = import_module(package)
        self.dtype = torch.float64 if device == "cpu" else torch.float32
        self.tolerance = 1e-11 if device == "cpu" else 2e-3

    def features(self, grid, channels):
        values = torch.randn(len(grid.coords), channels, dtype=self.dtype)
        return values.to(self.device).requires_grad_()

    def build(self, kind, *args, **kwargs):
        layer = getattr(self.layers, kind)(*args, **kwargs).to(self.device, self.dtype)
        with torch.no_grad():  # spconv's own start is so small that errors would hide
            for parameter in layer.parameters():
                parameter.normal_()
        return layer

    def tensor(self, features, grid):
        coords = grid.coords.to(self.device)
        return self.layers.SparseConvTensor(features, coords, grid.shape, grid.batch_size)

    def check(self, layers, grid, channels, dense):
        features = self.features(grid, channels)
        check_against_dense(layers, grid, features, dense, self.tolerance, self.layers)


@pytest.fixture(params=backends())
def backend(request):
    torch.manual_seed(0)
    return Backend(*request.param)


def grids(axes, multiple=1, count=4):
    """Random batches of sparse grids, shuffled; then one voxel alone."""
    for seed in range(count):
        yield random_grid(np.random.default_rng([axes, seed]), axes, multiple=multiple)
    shape = [4 * multiple] * axes
    coords = torch.tensor([[1, *[1] * axes]], dtype=torch.int32)
    active = torch.zeros(2, *shape, dtype=torch.bool)
    active[1][(1,) * axes] = True
    yield Grid(coords, shape, 2, active)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("kernel", "dilation", "bias"), [(3, 1, True), (5, 1, False), (3, 2, False), ("thin", 1, True)]
)
def test_submanifold(backend, axes, kernel, dilation, bias):
    size = (1, 3, 5)[-axes:] if kernel == "thin" else kernel
    layer = backend.build(f"SubMConv{axes}d", 3, 5, size, dilation=dilation, bias=bias)
    for grid in grids(axes):
        backend.check([layer], grid, 3, lambda x, active: dense_submanifold(layer, x, active))


GEOMETRIES = [
    # kernel, stride, padding, dilation, along three axes
    (3, 2, 1, 1),
    (2, 2, 0, 1),
    (3, 1, 1, 1),
    (1, 2, 0, 1),
    ((3, 1, 2), (2, 1, 1), (1, 0, 1), 1),
    ((1, 3, 2), (1, 2, 3), (0, 2, 0), (1, 2, 1)),
]


def along(axes, value):
    return list(value[-axes:]) if isinstance(value, tuple) else value


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_strided(backend, axes, geometry):
    layer = backend.build(f"SparseConv{axes}d", 3, 4, *(along(axes, each) for each in geometry))
    for grid in grids(axes, multiple=5):
        backend.check([layer], grid, 3, lambda x, active: dense_strided(layer, x, active)[0])


@pytest.mark.parametrize("axes", [2, 3])
def test_transposed(backend, axes):
    layer = backend.build(f"SparseConvTranspose{axes}d", 3, 4, 3, 2, 1)
    deconv = {2: F.conv_transpose2d, 3: F.conv_transpose3d}[axes]

    def dense(x, active):
        ones = torch.ones(1, 1, *[3] * axes, dtype=x.dtype, device=x.device)
        reached = deconv(active, ones, None, 2, 1) > 0
        return dense_transposed(layer, x, reached.to(x.dtype))

    for grid in grids(axes):
        backend.check([layer], grid, 3, dense)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("size", "padding"), [(3, 1), (2, 0)])
def test_down_twice_at_the_bottom_and_up(backend, axes, size, padding):
    """Tables found by ``indice_key``: of a submanifold layer, and for the inverse."""
    down = backend.build(f"SparseConv{axes}d", 3, 4, size, 2, padding, indice_key="down")
    inner = [
        backend.build(f"SubMConv{axes}d", 4, 4, 3, bias=bias, indice_key="inner")
        for bias in (True, False)
    ]
    up = backend.build(f"SparseInverseConv{axes}d", 4, 2, size, indice_key="down")
    for grid in grids(axes, multiple=2):

        def dense(x, active, grid=grid):
            low, reached = dense_strided(down, x, active)
            for layer in inner:
                low = dense_submanifold(layer, low, reached)
            return dense_transposed(up, low, active, down, grid.shape)

        features = backend.features(grid, 3)
        layers, tolerance = [down, *inner, up], backend.tolerance * 100
        check_against_dense(layers, grid, features, dense, tolerance, backend.layers)


@pytest.mark.parametrize("kind", ["SubMConv2d", "SubMConv3d", "SparseConv3d"])
def test_kernel_of_one_cell(backend, kind):
    axes = int(kind[-2])
    layer = backend.build(kind, 3, 5, 1)

    def dense(x, active):
        matrix = layer.weight.reshape(3, 5)  # memory (Cin, Cout), whatever the shape says
        out = torch.einsum("bc...,cd->bd...", x, matrix)
        return (out + layer.bias.view(1, -1, *[1] * axes)) * active

    for grid in grids(axes):
        backend.check([layer], grid, 3, dense)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("kind", ["Max", "Avg"])
def test_pools(backend, axes, kind):
    layer = getattr(backend.layers, f"Sparse{kind}Pool{axes}d")(3, 2, 1, indice_key="p")
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[axes]
    summed = {2: F.avg_pool2d, 3: F.avg_pool3d}[axes]
    for grid in grids(axes):
        features = backend.features(grid, 3)
        if backend.device == "cuda" and kind == "Max":
            features = (features.abs() + 1).detach().requires_grad_()  # both clip at zero there
        out = layer(backend.tensor(features, grid))
        dense, active = grid.dense(features), grid.active[:, None].to(features)
        if kind == "Max":
            expected = pool(dense.masked_fill(active == 0, -torch.inf), 3, 2, 1)
        else:
            expected = summed(dense, 3, 2, 1) / summed(active, 3, 2, 1)
        expected = expected.movedim(1, -1)[tuple(out.indices.long().T)]
        torch.testing.assert_close(out.features, expected, rtol=1e-5, atol=1e-6)
        seed = torch.randn_like(expected)
        ours, theirs = (torch.autograd.grad(o, features, seed) for o in (out.features, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SparseGlobalMaxPool", "SparseGlobalAvgPool"])
def test_global_pools(backend, name):
    if backend.device == "cuda":
        pytest.skip("spconv's mean takes the first channel only, and an empty sample ends it")
    coords = torch.tensor([[0, 0, 0, 0], [2, 1, 1, 1], [0, 1, 0, 0]], dtype=torch.int32)
    features = torch.tensor([[1.0, -5.0], [7.0, 8.0], [3.0, -1.0]])
    x = backend.layers.SparseConvTensor(features, coords, [2, 2, 2], 3)
    first = [3.0, -1.0] if "Max" in name else [2.0, -3.0]
    assert getattr(backend.layers, name)()(x).tolist() == [first, [0.0, 0.0], [7.0, 8.0]]


def test_no_voxels(backend):
    if backend.device == "cuda":
        pytest.skip("spconv's kernels refuse an empty tensor")
    net = backend.layers.SparseSequential(
        backend.layers.SubMConv3d(3, 4, 3),
        nn.BatchNorm1d(4),  # skipped: it would fail on no rows
        backend.layers.SparseConv3d(4, 4, 3, 2, 1, indice_key="d"),
        backend.layers.SparseMaxPool3d(2, 2),
        backend.layers.SubMConv3d(4, 4, 1),
    )
    nothing = torch.zeros((0, 4), dtype=torch.int32)
    out = net(backend.layers.SparseConvTensor(torch.zeros(0, 3), nothing, [8, 8, 8], 2))
    out.features.sum().backward()
    assert (out.features.shape, out.spatial_shape) == ((0, 4), [2, 2, 2])
    assert out.dense().shape == (2, 4, 2, 2, 2)
    assert all(p.grad is None or (p.grad == 0).all() for p in net.parameters())


def test_bfloat16_is_near_float32(backend):
    grid = random_grid(np.random.default_rng(0))
    net = backend.layers.SparseSequential(
        backend.build("SubMConv3d", 8, 16, 3), nn.ReLU(), backend.build("SparseConv3d", 16, 8, 1)
    ).float()
    features = torch.randn(len(grid.coords), 8, device=backend.device)
    expected = net(backend.tensor(features, grid)).features
    with torch.autocast(backend.device, dtype=torch.bfloat16):
        found = net(backend.tensor(features, grid)).features
    assert found.dtype in (torch.bfloat16, torch.float16)
    found.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())
    assert (found.float() - expected).norm().item() < 0.02 * expected.norm().item()


def network(layers):
    """One of each, with spconv's own start weights."""
    torch.manual_seed(3)
    return layers.SparseSequential(
        OrderedDict(
            subm=layers.SubMConv3d(3, 8, 3, indice_key="s"),
            norm=layers.SparseBatchNorm(8),
            relu=layers.SparseReLU(inplace=True),
            point=layers.SubMConv3d(8, 8, 1, bias=False),
            down=layers.SparseConv3d(8, 8, 3, 2, 1, indice_key="d", record_voxel_count=True),
            positive=layers.SparseReLU(),  # a GPU's maxima clip at zero
            pool=layers.SparseMaxPool3d(2, 2, indice_key="p"),
            unpool=layers.SparseInverseConv3d(8, 8, 2, indice_key="p"),
            up=layers.SparseInverseConv3d(8, 8, 3, indice_key="d"),
            out=layers.SparseConvTranspose3d(8, 2, 2, 2),
            dense=layers.ToDense(),
        )
    )


def test_checkpoints_and_start_weights_are_those_of_our_own_layers(backend):
    own, other = network(import_module(OWN)), network(backend.layers)
    theirs = other.state_dict()
    assert list(own.state_dict()) == list(theirs)
    for name, value in own.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    with torch.no_grad():
        other.load_state_dict({k: torch.rand_like(v.float()).to(v) for k, v in theirs.items()})
    own.load_state_dict(other.state_dict())
    grid = random_grid(np.random.default_rng(1), multiple=2)
    features = torch.randn(len(grid.coords), 3)
    ours = import_module(OWN).SparseConvTensor(features, grid.coords, grid.shape, grid.batch_size)
    expected = own(ours)
    found = other.to(backend.device)(backend.tensor(features.to(backend.device), grid))
    if backend.device == "cpu":
        assert torch.equal(found, expected)
        assert torch.equal(own.down.get_max_num_voxels(), other.down.get_max_num_voxels())
    else:
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)


def test_a_layer_that_stands_twice_in_a_row_runs_twice(backend):
    grid = random_grid(np.random.default_rng(2))
    conv = backend.build("SubMConv3d", 2, 2, 1, bias=False)
    x = backend.tensor(backend.features(grid, 2), grid)
    net = backend.layers.SparseSequential(conv, nn.Tanh(), conv, last=nn.Tanh())
    expected = (x.features @ conv.weight.view(2, 2)).tanh() @ conv.weight.view(2, 2)
    torch.testing.assert_close(net(x).features, expected.tanh())
    assert (len(net), net[2]) == (4, conv)
    assert net[-1] is net.last


def test_joined_and_added(backend):
    grid = random_grid(np.random.default_rng(2))
    x = backend.tensor(backend.features(grid, 2), grid)
    both = backend.layers.ConcatTable()
    both.add(nn.Identity())
    both.add(backend.layers.SparseIdentity())
    joined = backend.layers.JoinTable()(both(x))
    assert torch.equal(joined.features, torch.cat([x.features] * 2, 1))
    assert torch.equal(backend.layers.AddTable()(both(x)).features, 2 * x.features)
    assert torch.equal((x + x).features, 2 * x.features)


@pytest.mark.parametrize("kind", ["SubMConv3d", "SparseMaxPool3d"])
def test_our_own_layers_refuse_other_devices(kind):
    layers = import_module(OWN)
    layer = layers.SubMConv3d(2, 2, 3) if kind == "SubMConv3d" else layers.SparseMaxPool3d(2)
    coords = torch.zeros((1, 4), dtype=torch.int32)
    x = layers.SparseConvTensor(torch.zeros(1, 2, device="meta"), coords, [2, 2, 2], 1)
    with pytest.raises(ValueError, match=rf"on the CPU for lidistill's own {kind}, got .* meta"):
        layer(x)


def test_our_own_tensor_says_what_it_expects():
    layers = import_module(OWN)
    features, coords = torch.zeros(2, 3), torch.zeros((2, 4), dtype=torch.int32)
    for arguments, message in (
        ((features, coords[:, :3], [4, 4, 4], 1), r"\(V, 4\) as \(batch, ...\)"),
        ((features, coords.long(), [4, 4, 4], 1), "int32 indices, got torch.int64"),
        ((features, coords, [4, 4, 4], 0), "at least one sample"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.SparseConvTensor(*arguments)
    x = layers.SparseConvTensor(features, coords, [4, 4, 4], 1)
    with pytest.raises(ValueError, match="replace_feature"):
        x.features = features
    with pytest.raises(ValueError, match="same voxels"):
        layers.JoinTable()([x, x.select_by_index(torch.tensor([0]))])
    with pytest.raises(ValueError, match="groups=1"):
        layers.SubMConv3d(2, 2, 3, groups=2)
    with pytest.raises(ValueError, match="3, one an axis"):
        layers.SubMConv3d(2, 2, (3, 3))


def test_our_own_tensor_selects_and_comes_from_a_dense_map():
    layers = import_module(OWN)
    grid = random_grid(np.random.default_rng(3))
    features = torch.rand(len(grid.coords), 2) + 1
    x = layers.SparseConvTensor(features, grid.coords, grid.shape, grid.batch_size)
    again = layers.SparseConvTensor.from_dense(x.dense(channels_first=False))
    assert torch.equal(again.dense(), x.dense())
    x.indice_dict["a"] = None
    some = x.select_by_index(features[:, 0] > 1.5)
    assert torch.equal(some.features, features[features[:, 0] > 1.5])
    assert (list(some.indice_dict), list(x.indice_dict)) == ([], ["a"])
    assert torch.equal(x.minus().features, -features)
    assert x.spatial_size == np.prod(grid.shape)
