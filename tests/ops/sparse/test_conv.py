# SPDX-License-Identifier: Apache-2.0
"""Sparse convolution and pooling against a naive loop: values, gradients, threads, dtypes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.ops.sparse import conv
from lidistill.ops.sparse.conv import sparse_conv
from lidistill.ops.sparse.neighbours import strided_table, submanifold_table
from tests.ops.sparse_cases import naive_conv, random_grid


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    """Run under this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def random_case(seed, in_channels, out_channels, dtype=torch.float64):
    """A table with features, weight and bias that want gradients."""
    rng = np.random.default_rng(seed)
    grid = random_grid(rng)
    if seed % 2:
        table = submanifold_table(grid.coords, grid.shape, [3] * 3, [1] * 3)
    else:
        out_shape = [n // 2 for n in grid.shape]
        geometry = ([2] * 3, [2] * 3, [0] * 3, [1] * 3)
        table = strided_table(grid.coords, grid.shape, out_shape, *geometry)[1]
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        values = torch.randn(*shape, dtype=torch.float64, generator=generator)
        return values.to(dtype).requires_grad_()

    features = draw(table.num_in, in_channels)
    return table, features, draw(out_channels, table.volume, in_channels), draw(out_channels)


# widths below, at and above one register strip (16 floats, 8 doubles) and one tile (6 rows)
@pytest.mark.parametrize("widths", [(1, 1), (5, 7), (8, 16), (19, 33), (64, 48)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_naive_loop(widths, dtype):
    for seed in (1, 2):
        table, features, weight, bias = random_case(seed, *widths, dtype)
        out = sparse_conv(features, weight, table, bias)
        expected = naive_conv(features, weight, table.sources(), bias)
        assert out.dtype == dtype
        tolerance = 1e-12 if dtype == torch.float64 else 2e-5
        torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance * 10)
        seed_grad = torch.randn_like(out)
        inputs = (features, weight, bias)
        ours = torch.autograd.grad(out, inputs, seed_grad)
        naive = torch.autograd.grad(expected, inputs, seed_grad)
        for got, want in zip(ours, naive, strict=True):
            torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * 100)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_sums_in_torch_equal_those_of_our_kernels(dtype, monkeypatch):
    """What other devices take; here on the CPU."""
    results = []
    for kernels in (True, False):
        monkeypatch.setattr(conv, "_by_kernels", lambda features, by=kernels: by)
        for seed in (1, 2):
            table, *inputs = random_case(seed, 5, 7, dtype)
            for each in (table, table.inverse()):
                features = (
                    inputs[0]
                    if each is table
                    else torch.ones_like(inputs[0][:1]).expand(table.num_out, -1)
                )
                out = sparse_conv(features, inputs[1], each, inputs[2])
                shares = torch.linspace(-1, 1, out.numel(), dtype=dtype).view_as(out)
                results.append((out, *torch.autograd.grad(out, inputs[1:], shares)))
            out = sparse_conv(*inputs[:2], table, inputs[2])
            results[-1] += torch.autograd.grad(out.square().sum(), inputs)
    assert {each.dtype for result in results for each in result} == {dtype}
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5}.get(dtype, 2e-2)
    for kernel, plain in zip(results[:4], results[4:], strict=True):
        torch.testing.assert_close(plain, kernel, rtol=tolerance, atol=10 * tolerance)


def test_gradcheck(threads):
    table, features, weight, bias = random_case(3, 3, 4)
    assert torch.autograd.gradcheck(
        lambda f, w, b: sparse_conv(f, w, table, b), (features, weight, bias), fast_mode=True
    )


def big_case():
    """Enough voxels for many blocks and pieces: 5000 on a surface."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:75, :75].reshape(2, -1)
    z = (10 + 5 * np.sin(x / 9) * np.cos(y / 7)).astype(int)
    cells = np.stack([0 * x, z, y, x], axis=1)[rng.permutation(len(x))[:5000]]
    coords = torch.from_numpy(cells.astype(np.int32))
    return submanifold_table(coords, [20, 75, 75], [3] * 3, [1] * 3), rng


def test_bit_identical_between_thread_counts_and_runs():
    table, rng = big_case()
    features = torch.from_numpy(rng.normal(size=(5000, 24)).astype(np.float32)).requires_grad_()
    weight = torch.from_numpy(rng.normal(size=(40, 27, 24)).astype(np.float32)).requires_grad_()
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 4, 4, 3, 1):
        torch.set_num_threads(threads)
        out = sparse_conv(features, weight, table)
        seed_grad = torch.linspace(-1, 1, out.numel()).view_as(out)
        results.append((out, *torch.autograd.grad(out, (features, weight), seed_grad)))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_memory_is_inputs_and_outputs_only():
    table, _ = big_case()
    features = torch.randn(5000, 64, requires_grad=True)
    weight = torch.randn(64, 27, 64, requires_grad=True)
    with torch.profiler.profile(profile_memory=True) as profile:
        sparse_conv(features, weight, table).sum().backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    gathered = len(table.ins) * 64 * 4  # what gathering the pairs would take
    assert largest < gathered / 3


def test_order_of_voxels_only_reorders_rows():
    grid = random_grid(np.random.default_rng(5))
    shuffle = torch.randperm(len(grid.coords))
    features, weight = torch.randn(len(shuffle), 6), torch.randn(4, 27, 6)
    plain = submanifold_table(grid.coords, grid.shape, [3] * 3, [1] * 3)
    mixed = submanifold_table(grid.coords[shuffle], grid.shape, [3] * 3, [1] * 3)
    out = sparse_conv(features, weight, plain)
    assert torch.equal(sparse_conv(features[shuffle], weight, mixed), out[shuffle])


def test_only_wanted_gradients():
    table, features, weight, _ = random_case(1, 4, 5)
    out = sparse_conv(features.detach(), weight, table)
    out.sum().backward()
    assert weight.grad is not None
    out = sparse_conv(features, weight.detach(), table)
    out.sum().backward()
    assert features.grad is not None
    with torch.no_grad():
        assert not sparse_conv(features, weight, table).requires_grad


def test_non_contiguous_inputs():
    table, features, weight, bias = random_case(1, 6, 8)
    expected = sparse_conv(features, weight, table, bias)
    skewed = (features.T.contiguous().T, weight.transpose(0, 2).contiguous().transpose(0, 2))
    out = sparse_conv(*skewed, table, bias)
    assert torch.equal(out, expected)
    wide = torch.randn(len(out), 16, dtype=out.dtype)
    skewed_grad, plain_grad = wide[:, ::2], wide[:, ::2].contiguous()
    ours = torch.autograd.grad(out, (features, weight), skewed_grad)
    plain = torch.autograd.grad(expected, (features, weight), plain_grad)
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    table, features, weight, bias = random_case(1, 16, 16, dtype)
    out = sparse_conv(features, weight, table, bias)
    full = sparse_conv(features.float(), weight.float(), table, bias.float())
    assert out.dtype == dtype
    assert torch.equal(out, full.to(dtype))
    out.sum().backward()
    assert features.grad.dtype == weight.grad.dtype == dtype


def test_autocast_gives_the_autocast_dtype():
    table, features, weight, bias = random_case(1, 8, 8, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = sparse_conv(features.bfloat16(), weight, table, bias)
        also = sparse_conv(features, weight, table, bias)
    assert out.dtype == also.dtype == torch.bfloat16
    also.sum().backward()
    assert features.grad.dtype == weight.grad.dtype == torch.float32
    exact = sparse_conv(features, weight, table, bias)
    torch.testing.assert_close(also.float(), exact, rtol=1e-2, atol=1e-2)


def test_no_voxels():
    nothing = torch.zeros((0, 4), dtype=torch.int32)
    table = submanifold_table(nothing, [4] * 3, [3] * 3, [1] * 3)
    features = torch.zeros(0, 5, requires_grad=True)
    weight = torch.randn(7, 27, 5, requires_grad=True)
    out = sparse_conv(features, weight, table, torch.ones(7))
    assert out.shape == (0, 7)
    out.sum().backward()
    assert (weight.grad == 0).all()
    assert features.grad.shape == (0, 5)


def test_isolated_outputs_get_the_bias():
    coords = torch.tensor([[0, 0, 0, 0], [0, 3, 3, 3]], dtype=torch.int32)
    table = submanifold_table(coords, [4] * 3, [3] * 3, [1] * 3)
    out = sparse_conv(torch.zeros(2, 3), torch.randn(4, 27, 3), table, torch.arange(4.0))
    assert torch.equal(out, torch.arange(4.0).expand(2, 4))


def test_errors_say_what_came():
    table, features, weight, _ = random_case(1, 4, 5)
    with pytest.raises(ValueError, match=r"table of 27 kernel offsets.*8"):
        sparse_conv(features, weight, random_case(2, 4, 5)[0])
    with pytest.raises(ValueError, match="reused indice_key"):
        sparse_conv(features[1:], weight, table)
    with pytest.raises(ValueError, match=r"one dtype, got torch\.float64 and"):
        sparse_conv(features, weight.float(), table)
