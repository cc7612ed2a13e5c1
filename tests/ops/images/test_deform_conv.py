# SPDX-License-Identifier: Apache-2.0
"""Deformable convolutions beside loops, plain convolutions and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lidistill.ops.images.deform_conv import Geometry, deform_conv
from lidistill.ops.mmcv import ext

ext.install()
GEOMETRY = Geometry(stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, deform_groups=2)


def random(*shape: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64) * scale


def out_size(maps, weight, geometry) -> tuple[int, int]:
    sizes = zip(
        maps.shape[2:],
        weight.shape[2:],
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        strict=True,
    )
    return tuple((n + 2 * pad - step * (k - 1) - 1) // s + 1 for n, k, s, pad, step in sizes)


def case(geometry: Geometry, batch: int = 1, channels: int = 4, seed: int = 0):
    """Maps, offsets, weight, mask, bias; offsets up to some pixels."""
    maps = random(batch, channels, 5, 6, seed=seed)
    weight = random(6, channels // geometry.groups, 2, 3, seed=seed + 1)
    size = out_size(maps, weight, geometry)
    offset = random(batch, geometry.deform_groups * 12, *size, seed=seed + 2, scale=1.5)
    mask = random(batch, geometry.deform_groups * 6, *size, seed=seed + 3).sigmoid()
    return maps, offset, weight, mask, random(6, seed=seed + 4)


def read(plane, y, x):
    """Bilinear read of (H, W) with zeros around."""
    total = plane.new_zeros(())
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                share = (1 - abs(float(y) - row)) * (1 - abs(float(x) - column))
                total = total + share * plane[row, column]
    return total


def loops(maps, offset, weight, mask, bias, geometry):
    batch, channels = maps.shape[:2]
    rows, columns = weight.shape[2:]
    size = out_size(maps, weight, geometry)
    out = torch.zeros(batch, len(weight), *size, dtype=maps.dtype)
    per_group, per_part = channels // geometry.groups, channels // geometry.deform_groups
    for b in range(batch):
        for d in range(len(weight)):
            first = d // (len(weight) // geometry.groups) * per_group
            for p in range(size[0]):
                for q in range(size[1]):
                    total = bias[d].clone()
                    for c in range(per_group):
                        part = (first + c) // per_part
                        for k in range(rows * columns):
                            at = (part * rows * columns + k) * 2
                            shift_y, shift_x = offset[b, at : at + 2, p, q]
                            y = p * geometry.stride[0] - geometry.padding[0] + shift_y
                            x = q * geometry.stride[1] - geometry.padding[1] + shift_x
                            y = y + k // columns * geometry.dilation[0]
                            x = x + k % columns * geometry.dilation[1]
                            value = read(maps[b, first + c], y, x) * mask[b, at // 2, p, q]
                            total = total + value * weight[d, c, k // columns, k % columns]
                    out[b, d, p, q] = total
    return out


@settings(max_examples=3, deadline=None)
@given(
    st.tuples(*[st.integers(1, 2)] * 2),
    st.tuples(*[st.integers(0, 2)] * 2),
    st.tuples(*[st.integers(1, 2)] * 2),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2, 4]),
)
def test_values_equal_the_loops(stride, padding, dilation, groups, deform_groups) -> None:
    geometry = Geometry(stride, padding, dilation, groups, deform_groups)
    parts = case(geometry)
    maps, offset, weight, mask, bias = parts
    found = deform_conv(maps, offset, weight, geometry, mask, bias)
    torch.testing.assert_close(found, loops(*parts, geometry), rtol=0, atol=1e-10)


def test_gradients_are_those_of_finite_differences() -> None:
    parts = [part.requires_grad_() for part in case(GEOMETRY)]

    def call(maps, offset, weight, mask, bias):
        return deform_conv(maps, offset, weight, GEOMETRY, mask, bias)

    assert torch.autograd.gradcheck(call, parts, fast_mode=True, atol=1e-6)


def test_without_offsets_it_is_a_convolution() -> None:
    maps, offset, weight, mask, bias = case(GEOMETRY, batch=3)
    found = deform_conv(maps, offset * 0, weight, GEOMETRY, mask * 0 + 1, bias)
    wanted = F.conv2d(maps, weight, bias, (2, 1), (1, 2), (1, 2), 2)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_at_whole_pixels_the_gradient_looks_ahead() -> None:
    """As mmcv's: at an integer the slope is that towards larger coordinates, none at -1."""
    maps = torch.tensor([[[[0.0, 1, 3, 4]]]])
    for place, slope in ((-1.0, 0.0), (0.0, 1.0), (1.0, 2.0), (3.0, -4.0), (4.0, 0.0)):
        offset = torch.tensor([0.0, place]).view(1, 2, 1, 1).requires_grad_()
        one = deform_conv(maps[..., :1], offset, torch.ones(1, 1, 1, 1), Geometry())
        assert one.shape == (1, 1, 1, 1)
        wide = torch.zeros(1, 2, 1, 4)
        wide[0, 1] = place - torch.arange(4.0)
        wide.requires_grad_()
        total = deform_conv(maps, wide, torch.ones(1, 1, 1, 1), Geometry())[0, 0, 0, 0]
        (grad,) = torch.autograd.grad(total, wide)
        assert float(grad[0, 1, 0, 0]) == slope


@pytest.mark.parametrize("bias", [True, False])
def test_modulated_through_mmcv(bias) -> None:
    from mmcv.ops import modulated_deform_conv2d

    maps, offset, weight, mask, shift = (part.requires_grad_() for part in case(GEOMETRY, batch=2))
    used = [maps, offset, mask, weight] + ([shift] if bias else [])
    found = modulated_deform_conv2d(
        *used[:4], shift if bias else None, (2, 1), (1, 2), (1, 2), 2, 2
    )
    wanted = deform_conv(maps, offset, weight, GEOMETRY, mask, shift if bias else None)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    got = torch.autograd.grad(found.square().sum(), used)
    expected = torch.autograd.grad(wanted.square().sum(), used)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_plain_through_mmcv() -> None:
    from mmcv.ops import deform_conv2d

    used = [part.requires_grad_() for part in case(GEOMETRY, batch=2)[:3]]
    maps, offset, weight = used
    found = deform_conv2d(maps, offset, weight, (2, 1), (1, 2), (1, 2), 2, 2)
    wanted = deform_conv(maps, offset, weight, GEOMETRY)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    got = torch.autograd.grad(found.square().sum(), used)
    expected = torch.autograd.grad(wanted.square().sum(), used)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_no_samples_and_no_numbers() -> None:
    maps, offset, weight, mask, bias = case(GEOMETRY)
    maps.requires_grad_()
    empty = deform_conv(maps[:0], offset[:0], weight, GEOMETRY, mask[:0], bias)
    assert empty.shape[:2] == (0, 6)
    empty.sum().backward()
    assert not maps.grad.any()
    offset[0, :, 0, 0] = math.nan
    found = deform_conv(maps, offset, weight, GEOMETRY, mask, bias)
    assert found[0, :, 0, 0].isnan().all()
    assert found[0, :, 1:].isfinite().all()


def test_half_precision_keeps_its_type() -> None:
    parts = [part.bfloat16() for part in case(GEOMETRY)]
    maps, offset, weight, mask, bias = parts
    found = deform_conv(maps, offset, weight, GEOMETRY, mask, bias)
    assert found.dtype == torch.bfloat16
    wanted = deform_conv(*(p.float() for p in parts[:3]), GEOMETRY, mask.float(), bias.float())
    torch.testing.assert_close(found, wanted.bfloat16())


def test_shapes_that_do_not_fit_are_refused() -> None:
    maps, offset, weight, mask, _ = case(GEOMETRY)
    with pytest.raises(ValueError, match=r"expected offsets \(1, 24, 3, 6\), got"):
        deform_conv(maps, offset[:, :4], weight, GEOMETRY)
    with pytest.raises(ValueError, match="expected a mask"):
        deform_conv(maps, offset, weight, GEOMETRY, mask[:, :1])
    with pytest.raises(ValueError, match="4 channels"):
        deform_conv(maps[:, :3], offset, weight, GEOMETRY)
