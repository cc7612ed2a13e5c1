# SPDX-License-Identifier: Apache-2.0
"""Convolution kernels of other sparse libraries, to and from spconv 2's.

Ours, as spconv 2 stores them: (Cout, kz, ky, kx, Cin), offsets along z, y, x of the voxel
coordinates (batch, z, y, x). MinkowskiEngine and torchsparse keep (K^3, Cin, Cout) and coordinates
in the order x, y, z (SLidR: rho, phi, z). All of them correlate: offset k of a kernel meets the
input voxel at ``output * stride + k`` (even sizes, from 0) or ``output + k - K // 2`` (odd sizes);
a transposed convolution swaps the two ends of the same pairs. So only the order of offsets differs:

==============  =========================  ==========================
library         odd K                      even K
==============  =========================  ==========================
MinkowskiEngine x fastest, z slowest       x fastest, z slowest
torchsparse     x fastest, z slowest       z fastest, x slowest
spconv          x fastest, z slowest       x fastest, z slowest
==============  =========================  ==========================

Source: ``kernel_region.hpp`` and ``coordinate_map_manager.cpp`` of MinkowskiEngine 0.5,
``nn/utils/kernel.py`` of torchsparse 1.4 and 2.0, ``hashmap_cuda.cuh`` of torchsparse 2.1.
"""

from __future__ import annotations

from torch import Tensor


def spconv_from_minkowski(kernel: Tensor) -> Tensor:
    """(K^3, Cin, Cout) -> (Cout, K, K, K, Cin)."""
    size = _cube_size(kernel)
    return kernel.reshape(size, size, size, *kernel.shape[1:]).permute(4, 0, 1, 2, 3).contiguous()


def minkowski_from_spconv(weight: Tensor) -> Tensor:
    """(Cout, K, K, K, Cin) -> (K^3, Cin, Cout)."""
    return weight.permute(1, 2, 3, 4, 0).reshape(-1, weight.shape[4], weight.shape[0])


def spconv_from_torchsparse(kernel: Tensor) -> Tensor:
    """(K^3, Cin, Cout) -> (Cout, K, K, K, Cin); even sizes run with z fastest."""
    weight = spconv_from_minkowski(kernel)
    return weight if weight.shape[1] % 2 else swap_xyz_zyx(weight)


def torchsparse_from_spconv(weight: Tensor) -> Tensor:
    """(Cout, K, K, K, Cin) -> (K^3, Cin, Cout); even sizes run with z fastest."""
    return minkowski_from_spconv(weight if weight.shape[1] % 2 else swap_xyz_zyx(weight))


def swap_xyz_zyx(weight: Tensor) -> Tensor:
    """(Cout, kz, ky, kx, Cin) <-> (Cout, kx, ky, kz, Cin), for coordinates in the other order."""
    return weight.permute(0, 3, 2, 1, 4).contiguous()


def linear_from_pointwise(kernel: Tensor) -> Tensor:
    """1x1x1 kernel (Cin, Cout), or (1, Cin, Cout) -> weight (Cout, Cin) of ``nn.Linear``."""
    return kernel.reshape(kernel.shape[-2:]).t().contiguous()


def pointwise_from_linear(weight: Tensor) -> Tensor:
    """Weight (Cout, Cin) of ``nn.Linear`` -> 1x1x1 kernel (Cin, Cout)."""
    return weight.t().contiguous()


def spconv_pointwise_from_linear(weight: Tensor) -> Tensor:
    """(Cout, Cin) -> (Cout, 1, 1, 1, Cin), whose memory spconv reads as (Cin, Cout).

    The shape lies: a transposition would be wrong, see :mod:`lidistill.compat.spconv_layers`.
    """
    return weight.t().reshape(weight.shape[0], 1, 1, 1, weight.shape[1]).contiguous()


def linear_from_spconv_pointwise(weight: Tensor) -> Tensor:
    """(Cout, 1, 1, 1, Cin), memory (Cin, Cout) -> (Cout, Cin)."""
    return weight.reshape(weight.shape[4], weight.shape[0]).t().contiguous()


def spconv2_from_spconv1(weight: Tensor) -> Tensor:
    """(kz, ky, kx, Cin, Cout) -> (Cout, kz, ky, kx, Cin); 1x1x1 kernels keep their memory."""
    if weight.shape[:3].numel() == 1:
        return weight.reshape(weight.shape[4], 1, 1, 1, weight.shape[3])
    return weight.permute(4, 0, 1, 2, 3).contiguous()


def _cube_size(kernel: Tensor) -> int:
    size = round(kernel.shape[0] ** (1 / 3)) if kernel.ndim == 3 else 0
    if size == 0 or size**3 != kernel.shape[0]:
        raise ValueError(
            "expected a kernel (K^3, Cin, Cout) of a cube-shaped convolution, got shape "
            f"{tuple(kernel.shape)}; other kernel shapes cannot be converted"
        )
    return size
