# SPDX-License-Identifier: Apache-2.0
"""How a raw batch reaches a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModel
from torch import nn


def call_model(
    model: nn.Module, batch: Any, inputs: Sequence[str] | None, mode: str, training: bool
) -> Any:
    """Run ``model`` on a raw batch in its own way.

    An mmengine model (any mmdet3d detector) runs **its own data preprocessor** on the raw batch, so
    teacher and student may differ in voxel size, sweeps and modality. Any other module is called
    with the named fields of the batch.

    Args:
        model: the student or a teacher.
        batch: what the data loader collated, on the right device.
        inputs: names of batch attributes, in the order of the module's arguments; None for an
            mmengine model.
        mode: mmengine's ``"loss"``, ``"tensor"`` or ``"predict"``; for mmengine models only.
        training: passed to the data preprocessor.

    Raises:
        ValueError: a plain module without ``inputs``, or a batch without a named field.
    """
    if inputs is None:
        if not isinstance(model, BaseModel):
            raise ValueError(
                f"{type(model).__name__} is not an mmengine BaseModel; say which batch fields it "
                "takes, e.g. inputs=('images',)"
            )
        data = model.data_preprocessor(batch, training)
        return model(**data, mode=mode)
    missing = [name for name in inputs if not hasattr(batch, name)]
    if missing:
        raise ValueError(
            f"{type(model).__name__} wants batch fields {list(inputs)}, but "
            f"{type(batch).__name__} has no {missing}"
        )
    return model(*(getattr(batch, name) for name in inputs))
