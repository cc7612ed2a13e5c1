# SPDX-License-Identifier: Apache-2.0
"""Lovász-softmax: a loss whose value at the corners is one minus the intersection over union."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lidistill.losses.contrastive import zero_loss
from lidistill.ops.precision import full_precision

Classes = Literal["present", "all"]


def lovasz_softmax(
    probabilities: Tensor, labels: Tensor, ignore: int | None = None, classes: Classes = "present"
) -> Tensor:
    """Mean over classes of the Lovász extension of the Jaccard loss.

    Args:
        probabilities: (N, C) softmax output.
        labels: (N,) class of each point.
        ignore: points of this class are left out; their class still has a probability.
        classes: ``present``: the mean runs over the classes that have a point among ``labels``, so
            a class absent from the batch costs nothing, however probable it is predicted; ``all``:
            an absent class costs its largest probability.

    Returns:
        Scalar in 0 .. 1; zero with gradient where no point is left.

    Raises:
        ValueError: shapes do not fit, or a label lies outside the classes.

    Source: Berman et al., "The Lovász-Softmax loss", CVPR 2018, equation 11 and algorithm 1; the
        SLidR authors' fine-tuning takes ``present``.
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "expected probabilities (N, C) and labels (N,), got "
            f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    if classes not in ("present", "all"):
        raise ValueError(f"classes: expected 'present' or 'all', got {classes!r}")
    labels, probabilities = labels.long(), full_precision(probabilities)  # half counts to 2048
    if ignore is not None:
        kept = labels != ignore
        probabilities, labels = probabilities[kept], labels[kept]
    if len(labels) == 0:
        return zero_loss(probabilities)
    count = probabilities.shape[1]
    if int(labels.min()) < 0 or int(labels.max()) >= count:
        raise ValueError(
            f"labels must lie in 0..{count - 1}, got {int(labels.min())}..{int(labels.max())}"
        )
    chosen = torch.arange(count, device=labels.device)
    if classes == "present":
        chosen = labels.unique()
    foreground = (labels == chosen[:, None]).to(probabilities.dtype)  # (K, N)
    errors = (foreground - probabilities.T[chosen]).abs()  # (K, N)
    errors, order = errors.sort(dim=1, descending=True)
    return (errors * lovasz_gradient(foreground.gather(1, order))).sum(dim=1).mean()


def lovasz_gradient(foreground: Tensor) -> Tensor:
    """By how much the Jaccard loss grows with each point that is taken as wrong, worst first.

    Args:
        foreground: (K, N) 1 where the point belongs to class k, points sorted by falling error.

    Returns:
        (K, N), the gradient of the Lovász extension with respect to the sorted errors.

    Source: Berman et al. 2018, algorithm 1.
    """
    total = foreground.sum(dim=1, keepdim=True)
    intersection = total - foreground.cumsum(dim=1)
    union = total + (1 - foreground).cumsum(dim=1)
    jaccard = 1 - intersection / union  # (K, N)
    return torch.cat([jaccard[:, :1], jaccard.diff(dim=1)], dim=1)
