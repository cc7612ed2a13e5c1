# SPDX-License-Identifier: Apache-2.0
"""torchsparse's tensors, layers and functions on our own kernels, where torchsparse is not there.

The modules here carry the names of torchsparse's: what code of others imports as
``torchsparse.nn.functional`` is `lidistill.ops.torchsparse.nn.functional`
(`lidistill.compat.torchsparse_names`). Names, arguments, start weights, state dictionaries and the
order of kernel offsets are those of torchsparse 1.4.0, so checkpoints go from one to the other
unchanged. It is what mmdet3d's MinkUNet and SPVCNN are built from, on any device; pooling, cropping
and views from above are not here. `docs/mmcv_ops.md` lists what differs.
"""

from typing import Any

from lidistill.ops.torchsparse.operators import cat
from lidistill.ops.torchsparse.tensor import PointTensor, SparseTensor

__version__ = "1.4.0"
"""The release whose interface this is."""

__all__ = ["PointTensor", "SparseTensor", "cat"]


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"expected torchsparse.{name}, got lidistill's own torchsparse, which does not have it: it "
        "answers where torchsparse is not installed"
    )
