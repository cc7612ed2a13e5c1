# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: resume with the safe unpickler on; spconv weights without a version."""

from __future__ import annotations

import pickle
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lidistill.io.checkpoints import read_checkpoint

_STATISTICS = ("min", "max", "current", "mean")


def allow_history(module: ModuleType) -> None:
    """Let `torch.load(weights_only=True)` read what mmengine's Runner writes.

    That is: scalar histories (with the names of their statistics methods, which pickle as
    ``getattr(HistoryBuffer, name)``) and numpy arrays. ``getattr`` itself stays refused, since it
    would lead anywhere: the name is given to a function that knows those four methods only.

    Args:
        module: ``mmengine.logging.history_buffer``.
    """
    import numpy as np
    from numpy.core import multiarray as typed_multiarray

    multiarray: Any = typed_multiarray  # its stub hides what pickles call
    history = module.HistoryBuffer

    def statistics_method(owner: Any, name: str) -> Any:
        if owner is not history or name not in _STATISTICS:
            raise pickle.UnpicklingError(
                f"expected one of HistoryBuffer's methods {_STATISTICS} in the checkpoint, got "
                f"{name!r} of {owner!r}: no Runner of mmengine writes that; do not load the file"
            )
        return getattr(history, name)

    dtypes = [type(np.dtype(name)) for name in ("?", "i1", "u1", "i4", "i8", "f2", "f4", "f8")]
    torch.serialization.add_safe_globals(
        [
            history,
            (statistics_method, "builtins.getattr"),
            (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
            (multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),
            (multiarray.scalar, "numpy.core.multiarray.scalar"),
            (multiarray.scalar, "numpy._core.multiarray.scalar"),
            np.ndarray,
            np.dtype,
            *dtypes,
        ]
    )


def read_checked(module: Any) -> None:
    """Local checkpoints (to resume, to start from) are read with :func:`lidistill.io`'s checks.

    torch looks at no check sum: a training went on from weights that a disk had changed.

    Args:
        module: ``mmengine.runner.checkpoint``.
    """

    def load_from_local(filename: str, map_location: Any = None) -> Any:  # its name is printed
        return read_checkpoint(Path(filename).expanduser(), map_location=map_location)

    module.CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)


def keep_unversioned_weights(module: Any) -> None:
    """Keep mmdet3d from rotating spconv 2 weights whose ``state_dict`` carries no version.

    mmdet3d takes any weight without version 2 for mmcv's old layout (kernel..., Cin, Cout). A plain
    dictionary (safetensors, an exported student, a module saved before mmdet3d was imported) has
    none although its layout is the new one; the shape tells.

    Args:
        module: ``mmdet3d.models.layers.spconv.overwrite_spconv.write_spconv2``.
    """
    original = module._load_from_state_dict
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def load(self: Any, state_dict: dict, prefix: str, local_metadata: dict, *args: Any) -> None:
        weight = state_dict.get(prefix + "weight")
        own = getattr(self, "weight", None)
        if weight is not None and own is not None and weight.ndim > 2 and weight.shape == own.shape:
            local_metadata = {**local_metadata, "version": 2}
        original(self, state_dict, prefix, local_metadata, *args)

    module._load_from_state_dict = load
