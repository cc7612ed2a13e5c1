# SPDX-License-Identifier: Apache-2.0
"""spconv's layers on the CPU behind the bridge, against dense convolutions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lidistill import compat
from lidistill.compat import spconv_layers
from tests.compat.dense import (
    check_against_dense,
    dense_strided,
    dense_submanifold,
    dense_transposed,
)
from tests.compat.marks import NEEDS_SPCONV
from tests.ops.sparse_cases import random_grid

compat.apply()
spconv = pytest.importorskip("spconv.pytorch")

TOLERANCE = {torch.float64: 1e-11, torch.float32: 5e-5}
CASES = 30


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    """Run under this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def draws(kind, multiple=1):
    """30 random grids, feature tensors and widths, in both precisions by turns."""
    for seed in range(CASES):
        rng = np.random.default_rng([kind, seed])
        torch.manual_seed(seed)
        grid = random_grid(rng, multiple=multiple)
        dtype = (torch.float64, torch.float32)[seed % 2]
        widths = rng.integers(1, 20, size=3).tolist()
        features = torch.randn(len(grid.coords), widths[0], dtype=dtype, requires_grad=True)
        yield rng, grid, features, widths


def convolution(cls, *args, dtype, **kwargs):
    layer = cls(*args, **kwargs).to(dtype)
    with torch.no_grad():  # spconv's own start is so small that errors would hide
        layer.weight.normal_()
        if layer.bias is not None:
            layer.bias.normal_()
    return layer


def test_submanifold(threads):
    for rng, grid, features, (cin, cout, _) in draws(0):
        size = (3, 5, (1, 3, 3))[rng.integers(3)]
        options = {"dilation": int(rng.integers(1, 3)), "bias": bool(rng.integers(2))}
        dtype = features.dtype
        layer = convolution(spconv.SubMConv3d, cin, cout, size, **options, dtype=dtype)
        check_against_dense(
            [layer],
            grid,
            features,
            lambda x, active, layer=layer: dense_submanifold(layer, x, active),
            TOLERANCE[dtype],
        )


def test_strided(threads):
    for rng, grid, features, (cin, cout, _) in draws(1):
        size, stride, padding = ((3, 2, 1), (2, 2, 0), (3, 1, 1), (1, 2, 0))[rng.integers(4)]
        dtype = features.dtype
        layer = convolution(spconv.SparseConv3d, cin, cout, size, stride, padding, dtype=dtype)
        check_against_dense(
            [layer],
            grid,
            features,
            lambda x, active, layer=layer: dense_strided(layer, x, active)[0],
            TOLERANCE[dtype],
        )


def test_strided_then_inverse(threads):
    for rng, grid, features, (cin, middle, cout) in draws(2, multiple=2):
        size, padding = (3, 1) if rng.integers(2) else (2, 0)
        dtype = features.dtype
        key = {"indice_key": "d", "dtype": dtype}
        down = convolution(spconv.SparseConv3d, cin, middle, size, 2, padding, **key)
        inner = convolution(spconv.SubMConv3d, middle, middle, 3, indice_key="s", dtype=dtype)
        up = convolution(spconv.SparseInverseConv3d, middle, cout, size, **key)

        def dense(x, active, down=down, inner=inner, up=up, grid=grid):
            low, reached = dense_strided(down, x, active)
            low = dense_submanifold(inner, low, reached)
            return dense_transposed(up, low, active, down, grid.shape)

        check_against_dense([down, inner, up], grid, features, dense, TOLERANCE[dtype] * 100)


def test_transposed(threads):
    for _, grid, features, (cin, cout, _) in draws(3):
        dtype = features.dtype
        layer = convolution(spconv.SparseConvTranspose3d, cin, cout, 3, 2, 1, dtype=dtype)

        def dense(x, active, layer=layer):
            ones = torch.ones(1, 1, 3, 3, 3, dtype=x.dtype)
            reached = F.conv_transpose3d(active, ones, None, 2, 1) > 0
            return dense_transposed(layer, x, reached.to(x.dtype))

        check_against_dense([layer], grid, features, dense, TOLERANCE[dtype])


@pytest.mark.parametrize("cls", ["SubMConv3d", "SparseConv3d"])
def test_pointwise_weight_is_memory_in_by_out(threads, cls):
    for _, grid, features, (cin, cout, _) in draws(4):
        dtype = features.dtype
        layer = convolution(getattr(spconv, cls), cin, cout, 1, dtype=dtype)
        assert layer.weight.shape == (cout, 1, 1, 1, cin)

        def dense(x, active, layer=layer, cin=cin, cout=cout):
            matrix = layer.weight.reshape(cin, cout)
            out = torch.einsum("bczyx,cd->bdzyx", x, matrix) + layer.bias.view(1, -1, 1, 1, 1)
            return out * active

        check_against_dense([layer], grid, features, dense, TOLERANCE[dtype])


def test_max_pool(threads):
    for _, grid, features, _ in draws(5):
        x = spconv.SparseConvTensor(features, grid.coords, grid.shape, grid.batch_size)
        out = spconv.SparseMaxPool3d(3, 2, 1)(x)
        low = grid.dense(features - 1e9).masked_fill(~grid.active[:, None], -2e9) + 1e9
        low = torch.where(grid.active[:, None], grid.dense(features), low.detach())
        expected = F.max_pool3d(low, 3, 2, 1).movedim(1, -1)[tuple(out.indices.long().T)]
        assert torch.equal(out.features, expected)
        seed = torch.randn_like(expected)
        ours = torch.autograd.grad(out.features, features, seed)
        torch.testing.assert_close(ours, torch.autograd.grad(expected, features, seed))


@pytest.mark.parametrize("name", ["SparseGlobalMaxPool", "SparseGlobalAvgPool"])
def test_global_pool(name):
    coords = torch.tensor([[0, 0, 0, 0], [2, 1, 1, 1], [0, 1, 0, 0]], dtype=torch.int32)
    features = torch.tensor([[1.0, -5.0], [7.0, 8.0], [3.0, -1.0]])
    out = getattr(spconv, name)()(spconv.SparseConvTensor(features, coords, [2, 2, 2], 3))
    first = [3.0, -1.0] if "Max" in name else [2.0, -3.0]
    assert out.tolist() == [first, [0.0, 0.0], [7.0, 8.0]]


def test_avg_pool_is_over_active_voxels():
    coords = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1]], dtype=torch.int32)
    x = spconv.SparseConvTensor(torch.tensor([[1.0], [3.0]]), coords, [2, 2, 2], 1)
    from spconv.pytorch.pool import SparseAvgPool

    assert SparseAvgPool(3, 2, 2)(x).features.tolist() == [[2.0]]


def cube():
    """Features and coordinates of a small full grid."""
    coords = torch.ones(1, 4, 4, 4).nonzero().int()
    return torch.randn(64, 3), coords


def test_non_contiguous_coordinates_are_copied():
    features, coords = cube()
    skewed = coords.T.contiguous().T
    x = spconv.SparseConvTensor(features, skewed, [4, 4, 4], 1)
    assert x.indices.is_contiguous()
    layer = spconv.SubMConv3d(3, 4, 3)
    plain = spconv.SparseConvTensor(features, coords.contiguous(), [4, 4, 4], 1)
    assert torch.equal(layer(x).features, layer(plain).features)


def test_dense_map(recwarn):
    features, coords = cube()
    shuffle = torch.randperm(64)
    x = spconv.SparseConvTensor(features[shuffle], coords[shuffle], [4, 4, 4], 1)
    assert torch.equal(x.dense(), features.T.reshape(1, 3, 4, 4, 4))
    assert torch.equal(x.dense(channels_first=False), features.reshape(1, 4, 4, 4, 3))
    assert not [w for w in recwarn if "non-tuple" in str(w.message)]


def test_layers_share_tables_by_key():
    features, coords = cube()
    first = spconv.SubMConv3d(3, 3, 3, indice_key="a")
    second = spconv.SubMConv3d(3, 3, 3, indice_key="a")
    x = spconv.SparseConvTensor(features, coords, [4, 4, 4], 1)
    y = first(x)
    table = y.indice_dict["a"].table
    assert second(y).indice_dict["a"].table is table
    assert "a" not in x.indice_dict
    with pytest.raises(ValueError, match="same kernel"):
        spconv.SubMConv3d(3, 3, 5, indice_key="a")(y)
    with pytest.raises(ValueError, match=r"key of its own.*'a'"):
        spconv.SparseConv3d(3, 3, 3, indice_key="a")(y)
    with pytest.raises(ValueError, match=r"earlier strided layer.*'b'; known: \[\]"):
        spconv.SparseInverseConv3d(3, 3, 3, indice_key="b")(y)
    with pytest.raises(ValueError, match="expected 5 input channels"):
        spconv.SubMConv3d(5, 3, 3)(y)
    y.indices = y.indices.flip(0).contiguous()
    with pytest.raises(ValueError, match=r"'a' to have the same voxels in one order, got 64"):
        second(y)
    y.indices = y.indices[1:]
    with pytest.raises(ValueError, match=r"same voxels in one order, got 63 for .* and 64 before"):
        second(y.replace_feature(y.features[1:]))


def test_what_is_added_to_a_convolution_of_one_cell_is_not_left_out():
    features, coords = cube()
    x = spconv.SparseConvTensor(features, coords, [4, 4, 4], 1)
    with pytest.raises(ValueError, match="no add_input"):
        spconv.SubMConv3d(3, 3, 1)(x, add_input=x)


def test_training_and_inference_agree_and_pools_can_be_inverted():
    features, coords = cube()
    net = spconv.SparseSequential(
        spconv.SubMConv3d(3, 4, 3, indice_key="s"),
        torch.nn.ReLU(),
        spconv.SparseMaxPool3d(2, 2, indice_key="p"),
        spconv.SparseInverseConv3d(4, 5, 2, indice_key="p"),
    )
    x = spconv.SparseConvTensor(features, coords, [4, 4, 4], 1)
    train = net(x).features
    with torch.no_grad():
        assert torch.equal(net.eval()(x).features, train)
    assert train.shape == (64, 5)


def test_no_voxels():
    net = spconv.SparseSequential(
        spconv.SubMConv3d(3, 4, 3),
        spconv.SparseConv3d(4, 4, 3, 2, 1, indice_key="d"),
        spconv.SparseMaxPool3d(2, 2),
        spconv.SubMConv3d(4, 4, 1),
    )
    nothing = torch.zeros((0, 4), dtype=torch.int32)
    x = spconv.SparseConvTensor(torch.zeros(0, 3), nothing, [8, 8, 8], 2)
    out = net(x)
    out.features.sum().backward()
    assert out.features.shape == (0, 4)
    assert out.spatial_shape == [2, 2, 2]
    assert all((p.grad == 0).all() for p in net.parameters())


def test_autocast_runs_and_trains():
    features, coords = cube()
    net = spconv.SparseSequential(
        spconv.SubMConv3d(3, 8, 3), torch.nn.ReLU(), spconv.SubMConv3d(8, 8, 1)
    )
    x = spconv.SparseConvTensor(features, coords, [4, 4, 4], 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(x).features
    assert out.dtype == torch.bfloat16
    out.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())


def test_any_algorithm_runs_on_the_cpu():
    """Layers of spconv's CUDA builds carry implicit GEMM; CPU tensors must not mind."""
    from spconv.core import ConvAlgo

    features, coords = cube()
    x = spconv.SparseConvTensor(features, coords, [4, 4, 4], 1)
    for layer in (spconv.SparseConv3d(3, 4, 3, 2, 1), spconv.SparseMaxPool3d(3, 2, 1)):
        expected = layer(x).features
        layer.algo = ConvAlgo.MaskImplicitGemm
        assert torch.equal(layer(x).features, expected)


@NEEDS_SPCONV
def test_other_devices_go_the_librarys_way(monkeypatch):
    from spconv.pytorch.conv import SparseConvolutionBase

    layer = spconv.SubMConv3d(3, 4, 3, indice_key="s")
    features, coords = cube()
    x = spconv.SparseConvTensor(features.to("meta"), coords, [4, 4, 4], 1)
    with pytest.raises(Exception) as failure:
        layer(x)
    frames = [entry.name for entry in failure.traceback]
    assert "conv_forward" not in frames  # ours was not called; the library's own was
    assert SparseConvolutionBase._conv_forward.__wrapped__.__code__.co_name in frames


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_the_librarys_layers_are_differentiable_in_eval(train, gradients, autocast, fused):
    """What a GPU is asked for: only a pass without gradients takes the way of inference."""
    forward = spconv_layers.differentiable(lambda _layer, training, _input: training)
    layer = spconv.SubMConv3d(3, 4, 3)
    layer.act_type = SimpleNamespace(value=int(fused))  # none, or ReLU
    features, coords = cube()
    x = spconv.SparseConvTensor(features, coords, [4, 4, 4], 1)
    with torch.set_grad_enabled(gradients), torch.autocast("cpu", enabled=autocast):
        found = forward(layer, train, x)
    assert found == (train or ((gradients or autocast) and not fused))


def test_recorded_voxel_counts():
    features, coords = cube()
    layer = spconv.SparseConv3d(3, 4, 2, 2, record_voxel_count=True)
    layer(spconv.SparseConvTensor(features, coords, [4, 4, 4], 1))
    assert layer.get_max_num_voxels().item() == 8
    layer(spconv.SparseConvTensor(features[:1], coords[:1], [4, 4, 4], 1))
    assert layer.get_max_num_voxels().item() == 8
