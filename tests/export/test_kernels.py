# SPDX-License-Identifier: Apache-2.0
"""Kernel orders: spconv's layers with converted kernels against loops over coordinates."""

from __future__ import annotations

import pytest
import torch

from lidistill import compat
from lidistill.export import kernels
from tests.export.minkowski import as_voxels, convolve, double, halve, random_cloud

compat.apply()
spconv = pytest.importorskip("spconv.pytorch")

IN, OUT, SHAPE = 3, 5, (8, 6, 8)  # z, y, x; even, so that no voxel falls off at a halving
ENGINES = {
    "minkowski": (kernels.spconv_from_minkowski, kernels.minkowski_from_spconv),
    "torchsparse": (kernels.spconv_from_torchsparse, kernels.torchsparse_from_spconv),
}


@pytest.fixture
def cloud():
    return random_cloud(IN)


def kernel_of(size: int, rows: int = IN) -> torch.Tensor:
    random = torch.Generator().manual_seed(size)
    return torch.randn(size**3, rows, OUT, generator=random).double()


def run(layer, x, features=None):
    values, coords = as_voxels(x)
    out = layer(spconv.SparseConvTensor(values, coords, list(SHAPE), 1))
    return {tuple(reversed(c[1:])): f for c, f in zip(out.indices.tolist(), out.features)}  # noqa: B905


def load(layer, weight):
    layer.double().weight.data.copy_(weight)
    return layer


def check(got, expected):
    assert got.keys() == expected.keys()
    for cell, value in expected.items():
        torch.testing.assert_close(got[cell], value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_submanifold_3(engine, cloud):
    kernel = kernel_of(3)
    layer = spconv.SubMConv3d(IN, OUT, 3, padding=1, bias=False)
    with torch.no_grad():
        got = run(load(layer, ENGINES[engine][0](kernel)), cloud)
    check(got, convolve(cloud, kernel, 1, list(cloud), engine))


@pytest.mark.parametrize("engine", ENGINES)
def test_stride_2_and_back(engine, cloud):
    down, up = kernel_of(2), kernel_of(2, rows=OUT)
    convert = ENGINES[engine][0]
    first = load(spconv.SparseConv3d(IN, OUT, 2, 2, bias=False, indice_key="k"), convert(down))
    second = load(spconv.SparseInverseConv3d(OUT, OUT, 2, bias=False, indice_key="k"), convert(up))
    with torch.no_grad():
        coarse = run(first, cloud)
        fine = run(spconv.SparseSequential(first, second), cloud)
    expected = halve(cloud, down, 1, engine)  # at coordinates in units of the input's cells
    check({tuple(2 * c for c in cell): f for cell, f in coarse.items()}, expected)
    check(fine, double(expected, up, 1, list(cloud), engine))


def test_the_engines_differ_at_even_sizes_only():
    for size in (2, 3):
        kernel = kernel_of(size)
        ours, theirs = (convert(kernel) for convert, _ in ENGINES.values())
        assert torch.equal(ours, theirs) == (size == 3)


def test_pointwise(cloud):
    kernel = kernel_of(1)[0]
    expected = {u: f @ kernel for u, f in cloud.items()}
    linear = torch.nn.Linear(IN, OUT, bias=False).double()
    linear.weight.data.copy_(kernels.linear_from_pointwise(kernel))
    check({u: linear(f).detach() for u, f in cloud.items()}, expected)
    weight = kernels.spconv_pointwise_from_linear(linear.weight.detach())
    for layer in (
        spconv.SubMConv3d(IN, OUT, 1, bias=False),
        spconv.SparseConv3d(IN, OUT, 1, bias=False),
    ):
        with torch.no_grad():
            check(run(load(layer, weight), cloud), expected)
    transposed = linear.weight.detach().reshape(OUT, 1, 1, 1, IN)  # what the shape suggests: wrong
    with torch.no_grad():
        wrong = run(load(spconv.SubMConv3d(IN, OUT, 1, bias=False), transposed), cloud)
    assert not all(torch.allclose(wrong[u], f) for u, f in expected.items())


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("engine", ENGINES)
def test_back_and_forth(engine, size):
    kernel = kernel_of(size)
    ours, back = ENGINES[engine]
    assert ours(kernel).shape == (OUT, size, size, size, IN)
    assert torch.equal(back(ours(kernel)), kernel)


def test_pointwise_back_and_forth():
    kernel = kernel_of(1)[0]
    linear = kernels.linear_from_pointwise(kernel)
    assert torch.equal(kernels.pointwise_from_linear(linear), kernel)
    assert torch.equal(kernels.linear_from_pointwise(kernel[None]), linear)
    packed = kernels.spconv_pointwise_from_linear(linear)
    assert torch.equal(packed.view(IN, OUT), kernel)
    assert torch.equal(kernels.linear_from_spconv_pointwise(packed), linear)


def test_spconv_1_kernels():
    old = torch.arange(2 * 3 * 4 * 5 * 6).view(2, 3, 4, 5, 6)
    new = kernels.spconv2_from_spconv1(old)
    assert new.shape == (6, 2, 3, 4, 5)
    assert new[4, 1, 2, 3, 0] == old[1, 2, 3, 0, 4]
    point = torch.randn(1, 1, 1, 5, 6)
    assert torch.equal(kernels.spconv2_from_spconv1(point).view(5, 6), point[0, 0, 0])


@pytest.mark.parametrize("shape", [(9, 2, 3), (2, 3), (0, 2, 3)])
def test_kernels_that_are_no_cube(shape):
    with pytest.raises(ValueError, match="cube-shaped"):
        kernels.spconv_from_minkowski(torch.zeros(shape))
