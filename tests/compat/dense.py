# SPDX-License-Identifier: Apache-2.0
"""Dense counterparts of spconv's layers, and the test that compares them."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch.nn import functional as F

from tests.ops.sparse_cases import Grid

CONV = {2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {2: F.conv_transpose2d, 3: F.conv_transpose3d}


def kernel(layer):
    """The layer's weight as (Cout, Cin, z, y, x), in two axes (Cout, Cin, y, x)."""
    return layer.weight.movedim(-1, 1)


def conv(layer, x, weight, bias, **geometry):
    """Dense convolution in the layer's number of axes."""
    return CONV[layer.ndim](x, weight, bias, **geometry)


def dense_submanifold(layer, x, active):
    """Padded dense convolution, kept where the input is active."""
    reach = [d * (k // 2) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    out = conv(layer, x, kernel(layer), layer.bias, padding=reach, dilation=layer.dilation)
    return out * active


def dense_strided(layer, x, active):
    """Strided dense convolution, kept where the kernel meets an active cell."""
    geometry = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    ones = torch.ones(1, 1, *layer.kernel_size, dtype=x.dtype, device=x.device)
    reached = (conv(layer, active, ones, None, **geometry) > 0).to(x.dtype)
    return conv(layer, x, kernel(layer), layer.bias, **geometry) * reached, reached


def dense_transposed(layer, x, active, down=None, shape=None):
    """Transposed dense convolution onto ``shape``; ``down`` is the layer that it inverts."""
    source = layer if down is None else down
    transposed, stride, padding = TRANSPOSED[layer.ndim], source.stride, source.padding
    weight = kernel(layer).transpose(0, 1)
    out = transposed(x, weight, None, stride, padding, dilation=source.dilation)
    if shape is not None:  # the inverse ends where the strided layer began
        missing = [n - have for n, have in zip(shape, out.shape[2:], strict=True)]
        out = transposed(x, weight, None, stride, padding, missing, dilation=source.dilation)
    if layer.bias is not None:
        out = out + layer.bias.view(1, -1, *[1] * layer.ndim)
    return out * active


def check_against_dense(layers, grid: Grid, features, dense_forward, tolerance, library=None):
    """Run ``layers`` on the sparse and ``dense_forward`` on the dense input; compare all gradients.

    ``dense_forward(x, active)`` returns the dense output; sparse and dense are compared at the
    sparse output's cells, and the dense output has to be zero elsewhere. ``library`` is the module
    whose layers they are, by default ``spconv.pytorch``.
    """
    if library is None:
        import spconv.pytorch as library

    coords = grid.coords.to(features.device)
    out = library.SparseConvTensor(features, coords, grid.shape, grid.batch_size)
    for layer in layers:
        out = layer(out)
    seed = torch.randn_like(out.features)
    inputs = [features, *(p for layer in layers for p in layer.parameters())]
    ours = torch.autograd.grad(out.features, inputs, seed)
    with one_thread():
        active = grid.active[:, None].to(features)
        expected = dense_forward(grid.dense(features), active)
        cells = tuple(out.indices.long().T)
        at_cells = expected.movedim(1, -1)[cells]
        dense = torch.autograd.grad(at_cells, inputs, seed, retain_graph=True)
    assert list(expected.shape[2:]) == out.spatial_shape
    torch.testing.assert_close(out.features, at_cells, rtol=tolerance, atol=tolerance)
    for got, want in zip(ours, dense, strict=True):
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * 10)
    rest = expected.detach().clone()
    rest.movedim(1, -1)[cells] = 0
    assert (rest == 0).all()


@contextmanager
def one_thread():
    """The dense oracle on one thread: quicker on small grids, and sure to be right."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
