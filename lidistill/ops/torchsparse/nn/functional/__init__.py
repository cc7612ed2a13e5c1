# SPDX-License-Identifier: Apache-2.0
"""``torchsparse.nn.functional``: convolution, voxel look-up, and the way from points to voxels."""

from typing import Any

from lidistill.ops.torchsparse.nn.functional.conv import conv3d
from lidistill.ops.torchsparse.nn.functional.downsample import spdownsample
from lidistill.ops.torchsparse.nn.functional.hash import sphash, sphashquery
from lidistill.ops.torchsparse.nn.functional.points import (
    calc_ti_weights,
    spcount,
    spdevoxelize,
    spvoxelize,
)

__all__ = [
    "calc_ti_weights",
    "conv3d",
    "spcount",
    "spdevoxelize",
    "spdownsample",
    "sphash",
    "sphashquery",
    "spvoxelize",
]


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"expected torchsparse.nn.functional.{name}, got lidistill's own functions "
        f"({', '.join(__all__)}), which answer where torchsparse is not installed"
    )
