# SPDX-License-Identifier: Apache-2.0
"""Reading maps at pixels against loops and dense upsampling."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lidistill.ops.segments.pixel_read import read_pixels, read_pixels_lowres


def test_read_equals_a_loop_and_repeats_add_up_in_the_gradient():
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.normal(size=(2, 3, 4, 5))).requires_grad_()
    image = torch.tensor([0, 1, 1, 0, 1])
    rowcol = torch.tensor([[0, 0], [3, 4], [3, 4], [2, 1], [1, 0]])
    got = read_pixels(maps, image, rowcol)
    for row, (i, (r, c)) in enumerate(zip(image.tolist(), rowcol.tolist(), strict=True)):
        np.testing.assert_array_equal(got.detach()[row], maps.detach()[i, :, r, c])
    assert torch.autograd.gradcheck(lambda x: read_pixels(x, image, rowcol), maps)


@pytest.mark.parametrize("align_corners", [True, False])
def test_lowres_read_equals_dense_upsampling(align_corners):
    rng = np.random.default_rng(1)
    low = torch.from_numpy(rng.normal(size=(2, 3, 4, 5))).requires_grad_()
    image = torch.from_numpy(rng.integers(0, 2, 40))
    rowcol = torch.stack([torch.from_numpy(rng.integers(0, n, 40)) for n in (9, 14)], 1)
    dense = F.interpolate(low, (9, 14), mode="bilinear", align_corners=align_corners)
    expected = F.normalize(dense, dim=1)[image, :, rowcol[:, 0], rowcol[:, 1]]
    got = F.normalize(read_pixels_lowres(low, image, rowcol, (9, 14), align_corners), dim=1)
    pull = torch.from_numpy(rng.normal(size=got.shape))
    (want,) = torch.autograd.grad((expected * pull).sum(), low)
    (have,) = torch.autograd.grad((got * pull).sum(), low)
    np.testing.assert_allclose(got.detach(), expected.detach(), atol=1e-12)
    np.testing.assert_allclose(have, want, atol=1e-12)


def test_between_pixels_the_read_is_linear():
    low = torch.arange(4.0, dtype=torch.float64).view(1, 1, 1, 4)
    at = torch.tensor([[0.0, 1.5], [0.0, 6.0], [0.0, 0.0]], dtype=torch.float64)
    got = read_pixels_lowres(low, torch.zeros(3).long(), at, (1, 7))
    np.testing.assert_allclose(got.flatten(), [0.75, 3.0, 0.0])


def test_no_pairs():
    maps = torch.randn(1, 3, 4, 5, requires_grad=True)
    empty = torch.zeros(0).long(), torch.zeros(0, 2).long()
    total = read_pixels(maps, *empty).sum() + read_pixels_lowres(maps, *empty, (8, 10)).sum()
    total.backward()
    assert float(total.detach()) == 0
    assert torch.all(maps.grad == 0)


@pytest.mark.parametrize(
    ("image", "rowcol", "message"),
    [
        ([2], [[0, 0]], "image indices must lie in 0 .. 1, got 2 .. 2"),
        ([0], [[4, 0]], "row indices"),
        ([0], [[0, -1]], "column indices"),
    ],
)
def test_pixels_outside_are_errors(image, rowcol, message):
    with pytest.raises(ValueError, match=message):
        read_pixels(torch.zeros(2, 3, 4, 5), torch.tensor(image), torch.tensor(rowcol))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="expected a map"):
        read_pixels(torch.zeros(2, 3, 4, 5), torch.zeros(3).long(), torch.zeros(2, 2).long())
