# SPDX-License-Identifier: Apache-2.0
"""``torchsparse.nn``: layers on sparse tensors."""

from typing import Any

from lidistill.ops.torchsparse.nn.modules import BatchNorm, Conv3d, GroupNorm, LeakyReLU, ReLU

__all__ = ["BatchNorm", "Conv3d", "GroupNorm", "LeakyReLU", "ReLU"]


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"expected torchsparse.nn.{name}, got lidistill's own layers ({', '.join(__all__)}), which "
        "answer where torchsparse is not installed"
    )
