# SPDX-License-Identifier: Apache-2.0
"""Frames without labels: the teacher alone trains the student there, its own loss rests.

A data set marks them (``SeededDetections(labelled=...)``): such a sample has no ``gt_instances_3d``
but an empty ``no_instances_3d`` of the same form. A plain detector cannot take it for a frame
without objects.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from lidistill.datasets.detections import NO_LABELS

_HEADS = ("pts_bbox_head", "bbox_head")  # of mmdet3d's detectors on BEV maps


def is_labelled(sample: Any) -> bool:
    """Whether a sample of a batch counts as labelled."""
    return getattr(sample, NO_LABELS, None) is None


def labelled_rows(batch: Any) -> list[bool]:
    """For each sample of a raw batch whether it is labelled; empty for other batches."""
    samples = batch.get("data_samples") if isinstance(batch, Mapping) else None
    return [is_labelled(sample) for sample in samples or ()]


def with_empty_labels(batch: Any) -> Any:
    """A batch whose unlabelled samples have no objects, so that a detector can run on it."""
    if all(labelled_rows(batch)):
        return batch
    samples = [_without_objects(sample) for sample in batch["data_samples"]]
    return {**batch, "data_samples": samples}


def _without_objects(sample: Any) -> Any:
    """A sample as a detector takes it: an unlabelled one with no object."""
    if is_labelled(sample):
        return sample
    filled = sample.clone()
    filled.gt_instances_3d = sample.get(NO_LABELS)
    return filled


def refuse_without_teacher(model: nn.Module, dataset: Any) -> None:
    """Frames without labels train nothing but a student.

    Args:
        model: about to be trained.
        dataset: config of its training data.

    Raises:
        ValueError: ``labelled`` leaves labels out, their frames are kept, and the model has no
            teacher.
    """
    given = dataset if isinstance(dataset, Mapping) else {}
    labelled, kept = given.get("labelled"), given.get("keep_unlabelled", True)
    if labelled is not None and kept and not hasattr(model, "student"):
        raise ValueError(
            f"expected a Distiller for data with labelled={labelled!r}, got "
            f"{type(model).__name__}, which has no teacher; take `labelled` out, or "
            "leave those frames out with keep_unlabelled=False"
        )


@contextmanager
def own_loss_on(student: nn.Module, labelled: Sequence[bool]) -> Iterator[None]:
    """The student's own loss is that of the labelled samples: a mean over them alone.

    All samples pass the network in one batch, so batch norms and taps see them all; the heads then
    compare the rows of labelled samples only. A batch without any has losses of zero, with
    gradient.

    Args:
        student: a detector of mmdet3d with a head on BEV maps.
        labelled: for each sample of the batch.

    Raises:
        ValueError: a detector whose loss cannot be kept to some samples.
    """
    with ExitStack() as stack:
        if not all(labelled):
            heads = [getattr(student, name) for name in _HEADS if hasattr(student, name)]
            others = [name for name in ("rpn_head", "roi_head") if hasattr(student, name)]
            if others or not heads or not all(hasattr(head, "loss_by_feat") for head in heads):
                raise ValueError(
                    f"{type(student).__name__} cannot be trained on frames without labels: "
                    "expected an mmdet3d detector with one head on BEV maps (PointPillars, SECOND, "
                    f"CenterPoint), got {', '.join(others) or 'no such head'}; leave `labelled` of "
                    "the data set out, or take another student"
                )
            for head in heads:
                stack.enter_context(_kept_to(head, labelled))
        yield


@contextmanager
def _kept_to(head: nn.Module, labelled: Sequence[bool]) -> Iterator[None]:
    original: Callable[..., Any] = head.loss_by_feat  # type: ignore[assignment]
    rows = [row for row, known in enumerate(labelled) if known]

    @wraps(original)
    def loss_by_feat(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(original).bind(*args, **kwargs)
        chosen = rows or list(range(len(labelled)))
        for name, value in list(given.arguments.items()):
            given.arguments[name] = _chosen(name, value, chosen)
        losses = original(*given.args, **given.kwargs)
        return losses if rows else _times_zero(losses)

    head.loss_by_feat = loss_by_feat  # type: ignore[assignment]
    try:
        yield
    finally:
        del head.loss_by_feat


def _chosen(name: str, value: Any, rows: list[int]) -> Any:
    """One argument of ``loss_by_feat`` for some samples alone."""
    if name.startswith("batch_"):  # mmdet3d's name for a list with one entry a sample
        return None if value is None else [value[row] for row in rows]
    return _rows_of(value, rows)


def _rows_of(value: Any, rows: list[int]) -> Any:
    """Copies of the rows of every tensor of a head's output: losses may write into them."""
    if isinstance(value, Tensor):
        return value[torch.as_tensor(rows, device=value.device)]
    if isinstance(value, Mapping):
        return {key: _rows_of(item, rows) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_rows_of(item, rows) for item in value)
    return value


def _times_zero(losses: Any) -> Any:
    """Losses of frames without labels: zero, with gradient."""
    if isinstance(losses, Tensor):
        return torch.nan_to_num(losses) * 0.0
    if isinstance(losses, Mapping):
        return {key: _times_zero(item) for key, item in losses.items()}
    return [_times_zero(item) for item in losses] if isinstance(losses, list | tuple) else losses
