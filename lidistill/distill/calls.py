# SPDX-License-Identifier: Apache-2.0
"""How a raw batch reaches a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModel
from torch import nn

_HEADS = ("pts_bbox_head", "bbox_head", "rpn_head", "roi_head")  # of mmdet3d's detectors


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
        ValueError: a plain module without ``inputs``, or a batch without a named field; see
            :func:`check_boxes` for detectors in training.
    """
    if inputs is None:
        if not isinstance(model, BaseModel):
            raise ValueError(
                f"{type(model).__name__} is not an mmengine BaseModel; say which batch fields it "
                "takes, e.g. inputs=('images',)"
            )
        if mode == "loss":
            check_boxes(model, batch)
        data = model.data_preprocessor(batch, training)
        return model(**data, mode=mode)
    missing = [name for name in inputs if not hasattr(batch, name)]
    if missing:
        raise ValueError(
            f"{type(model).__name__} wants batch fields {list(inputs)}, but "
            f"{type(batch).__name__} has no {missing}"
        )
    return model(*(getattr(batch, name) for name in inputs))


def check_boxes(model: nn.Module, batch: Any) -> None:
    """Refuse a training batch without labels, where mmdet3d would fail deep inside the detector.

    A sample without objects is fine for heads on BEV maps; mmdet3d's PointRCNN cannot take one.

    Raises:
        ValueError: a sample has no ``gt_instances_3d``, or a PointRCNN gets one without boxes.
    """
    if not isinstance(batch, Mapping) or not any(hasattr(model, name) for name in _HEADS):
        return
    of_points = type(getattr(model, "rpn_head", None)).__name__ == "PointRPNHead"
    for row, sample in enumerate(batch.get("data_samples") or [None]):
        labels = getattr(sample, "gt_instances_3d", getattr(sample, "gt_instances", None))
        if labels is None:
            raise ValueError(
                f"{type(model).__name__} is trained on boxes, but sample {row} of the batch has no "
                "gt_instances_3d; put LoadAnnotations3D and gt_bboxes_3d, gt_labels_3d of "
                "Pack3DDetInputs into the train pipeline"
            )
        if of_points and len(labels) == 0:
            raise ValueError(
                f"mmdet3d's {type(model).__name__} cannot be trained on a sample without boxes, as "
                f"sample {row} of the batch is; leave the data set's filter_empty_gt=True and read "
                "it through SeededDetections, which goes on to the next sample"
            )
