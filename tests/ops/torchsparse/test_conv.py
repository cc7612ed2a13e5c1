# SPDX-License-Identifier: Apache-2.0
"""Convolutions beside loops over voxels and dense convolutions: values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lidistill.ops.torchsparse import SparseTensor
from lidistill.ops.torchsparse.nn import Conv3d
from lidistill.ops.torchsparse.nn.functional import conv3d, spdownsample
from lidistill.ops.torchsparse.nn.utils import get_kernel_offsets
from tests.ops.torchsparse.cases import (
    by_cell,
    cells_of,
    naive_coarse,
    naive_conv,
    naive_offsets,
    random_tensor,
    random_voxels,
)

GEOMETRIES = [  # kernel, stride, stride of the tensor
    (1, 1, 1),
    (2, 1, 1),
    (3, 1, 1),
    (3, 1, 4),
    (4, 1, 1),
    ((3, 1, 2), 1, 2),
    (1, 2, 1),
    (2, 2, 1),
    (2, 2, 2),
    (3, 2, 1),
    (3, 3, 1),
    ((1, 2, 3), (1, 2, 1), 1),
    ((3, 2, 1), (2, 2, 1), 2),
]


def build(channels: tuple[int, int], *args, **kwargs) -> Conv3d:
    """A layer with weights large enough that errors show."""
    layer = Conv3d(*channels, *args, **kwargs).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def check(found: torch.Tensor, wanted: torch.Tensor, leaves: list[torch.Tensor]) -> None:
    """Equal values, and gradients of a sum with uneven weights."""
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-11)
    shares = torch.randn_like(wanted)
    pairs = (torch.autograd.grad((each * shares).sum(), leaves) for each in (found, wanted))
    for got, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_equals_loops_over_voxels(geometry) -> None:
    size, stride, step = geometry
    for seed in range(2):
        torch.manual_seed(seed)
        x = random_tensor(seed, 3, step)
        layer = build((3, 4), size, stride, bias=True)
        out = layer(x)
        cells = cells_of(x.coords)
        if stride != 1:
            cells = naive_coarse(cells, size, stride, step)
        assert cells_of(out.coords) == cells
        assert out.coords.dtype == torch.int32
        wanted = torch.stack(naive_conv(by_cell(x), layer.kernel, cells, size, step)) + layer.bias
        check(out.feats, wanted, [x.feats, layer.kernel, layer.bias])


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g[0] != 1], ids=str)
def test_transposed_goes_back_along_the_pairs(geometry) -> None:
    size, stride, step = geometry
    torch.manual_seed(0)
    x = random_tensor(5, 3, step)
    down, up = build((3, 4), size, stride), build((4, 2), size, stride, transposed=True)
    middle = down(x)
    middle.feats = middle.feats.detach().requires_grad_()
    out = up(middle)
    assert out.stride == x.stride
    assert out.coords is x.coords
    assert out.cmaps is x.cmaps
    rows = {cell: torch.zeros(2, dtype=torch.float64) for cell in cells_of(x.coords)}
    for u, feature in by_cell(middle).items():
        for offset, weight in zip(naive_offsets(size), up.kernel, strict=True):
            v = (*(c + o * step for c, o in zip(u, offset, strict=False)), u[3])
            if v in rows:
                rows[v] = rows[v] + feature @ weight
    check(out.feats, torch.stack(list(rows.values())), [middle.feats, up.kernel])


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (2, 2)])
def test_equals_a_dense_convolution(size, stride) -> None:
    torch.manual_seed(0)
    x = random_tensor(1, 3)
    layer = build((3, 4), size, stride)
    cells = x.coords.long() + torch.tensor([4, 4, 4, 0])  # an even shift, so grids stay aligned
    grid = x.feats.new_zeros((3, 16, 16, 16, 3))
    dense = grid.index_put((cells[:, 3], *cells[:, :3].T), x.feats).permute(0, 4, 1, 2, 3)
    weight = layer.kernel.reshape(size, size, size, 3, 4)
    # (x, y, z) first: an odd kernel lies with x fastest, an even one with z fastest
    order = (4, 3, 2, 1, 0) if size == 3 else (4, 3, 0, 1, 2)
    every = F.conv3d(dense, weight.permute(order), stride=stride, padding=size // 2 * (size % 2))
    out = layer(x)
    places = out.coords.long() + torch.tensor([4, 4, 4, 0])
    at = (places[:, :3] // stride).T
    check(out.feats, every[places[:, 3], :, at[0], at[1], at[2]], [x.feats, layer.kernel])


def test_offsets_stand_in_the_order_of_the_weights() -> None:
    assert get_kernel_offsets(3)[[0, 1, 3, 9, 13]].tolist() == [
        [-1, -1, -1],
        [0, -1, -1],
        [-1, 0, -1],
        [-1, -1, 0],
        [0, 0, 0],
    ]
    assert get_kernel_offsets(2, 4)[[0, 1, 2, 4]].tolist() == [
        [0, 0, 0],
        [0, 0, 4],
        [0, 4, 0],
        [4, 0, 0],
    ]
    assert get_kernel_offsets(3, 2, 3)[0].tolist() == [-6, -6, -6]
    for size in (1, 2, 3, 4, 5, (1, 2, 3), (3, 1, 5)):
        assert [tuple(row) for row in get_kernel_offsets(size).tolist()] == naive_offsets(size)


def test_coarse_voxels_of_a_sample_do_not_depend_on_the_others() -> None:
    coords = random_voxels(2)
    for geometry in ((2, 2), (2, 3), (3, 3)):
        together = spdownsample(coords, *geometry)
        for sample in range(3):
            alone = spdownsample(coords[coords[:, 3] == sample], *geometry)
            assert torch.equal(together[together[:, 3] == sample], alone)


def test_samples_do_not_meet_and_order_changes_nothing() -> None:
    x = random_tensor(3, 3)
    layers = [build((3, 4), 3), build((4, 4), 2, 2), build((4, 4), 3)]
    layers.append(build((4, 2), 2, 2, transposed=True))
    together = torch.nn.Sequential(*layers)(x)
    for sample in range(3):
        rows = torch.nonzero(x.coords[:, 3] == sample)[:, 0].flip(0)
        alone = torch.nn.Sequential(*layers)(SparseTensor(x.feats[rows], x.coords[rows]))
        torch.testing.assert_close(alone.feats, together.feats[rows], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_half_precision_is_summed_in_float32(dtype, size) -> None:
    x = random_tensor(4, 40)
    feats = x.feats.detach().to(dtype)
    layer = build((40, 8), size).to(dtype)
    out = layer(SparseTensor(feats, x.coords)).feats
    exact = layer.float()(SparseTensor(feats.float(), x.coords)).feats
    assert out.dtype == dtype
    torch.testing.assert_close(out, exact.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-2)
    if size > 1:
        assert torch.equal(out, exact.to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(SparseTensor(feats.float(), x.coords)).feats.dtype == torch.bfloat16


def test_no_voxels() -> None:
    x = SparseTensor(torch.zeros(0, 3, requires_grad=True), torch.zeros((0, 4), dtype=torch.int32))
    layers = [Conv3d(3, 4, 3), Conv3d(4, 4, 2, 2), Conv3d(4, 4, 3, 2), Conv3d(4, 4, 1, bias=True)]
    out = torch.nn.Sequential(*layers)(x)
    assert (out.feats.shape, out.coords.shape, out.stride) == ((0, 4), (0, 4), (4, 4, 4))
    out.feats.sum().backward()
    assert all(not parameter.grad.any() for parameter in layers[0].parameters())


def test_start_weights_and_names_are_torchsparses() -> None:
    layer = Conv3d(8, 4, 2, 2, bias=True, transposed=True)
    shapes = {name: tuple(each.shape) for name, each in layer.state_dict().items()}
    assert shapes == {"kernel": (8, 8, 4), "bias": (4,)}
    assert 0.9 < layer.kernel.abs().max() * (4 * 8) ** 0.5 < 1
    assert Conv3d(8, 4, 1).kernel.shape == (8, 4)
    assert "stride=(2, 2, 2), transposed=True" in repr(layer)


def test_errors_say_what_to_do() -> None:
    x = random_tensor(0, 3)
    with pytest.raises(ValueError, match=r"dilation=1, got 2: torchsparse 1\.4\.0 takes it"):
        Conv3d(3, 4, 3, dilation=2)
    with pytest.raises(ValueError, match="dilation=1"):
        conv3d(x, torch.zeros(27, 3, 4), 3, dilation=(1, 1, 2))
    layer = Conv3d(3, 4, 2, 2, transposed=True).double()
    with pytest.raises(ValueError, match=r"\(2, 2, 2\) from .* known: none: give both"):
        layer(x)
    with pytest.raises(ValueError, match="expected features"):
        Conv3d(4, 4, 3).double()(x)
    with pytest.raises(ValueError, match="one number or 3"):
        Conv3d(3, 4, (3, 3))
    twice = SparseTensor(x.feats[[0, 0]], x.coords[[0, 0]])
    with pytest.raises(ValueError, match=r"each voxel once, got .* merge the points"):
        build((3, 4), 3)(twice)
