# SPDX-License-Identifier: Apache-2.0
"""Rows of all processes, with gradients: contrast against the negatives of every GPU.

DistributedDataParallel averages the gradients of the ranks. A rank that scores its own anchors
against everybody's keys, each anchor weighing ``ranks / all anchors``, therefore trains as one
process with the joined batch would, if a key's gradient is summed over the ranks that used it as a
negative. :func:`gather_rows` does that in its backward pass.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch import distributed as dist

Negatives = Literal["rank", "all"]
"""Whose keys are negatives: those of the own process, or of all processes of a training."""


def world_size(negatives: Negatives) -> int:
    """Number of ranks that share their negatives; 1 outside of a distributed training.

    Raises:
        ValueError: ``negatives`` is neither ``"rank"`` nor ``"all"``.
    """
    if negatives not in get_args(Negatives):
        raise ValueError(f"negatives: expected one of {get_args(Negatives)}, got {negatives!r}")
    shared = negatives == "all" and dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if shared else 1


def gather_rows(rows: Tensor, negatives: Negatives = "all") -> tuple[Tensor, int]:
    """Rows of all ranks in the order of the ranks; their numbers may differ.

    A collective: every rank must call it, also one without rows, and every rank must go backward
    through it, or the others wait for ever.

    Args:
        rows: (R, ...) of this rank; dtype and further axes are the same everywhere.
        negatives: ``"rank"`` returns the own rows as they are.

    Returns:
        (R_all, ...) rows, and the position of the first own row among them. Backward, a row gets
        the sum of the gradients that all ranks have for it.
    """
    if world_size(negatives) == 1:
        return rows, 0
    counts = _counts(rows)
    return _GatherRows.apply(rows, counts), sum(counts[: dist.get_rank()])


def total_over_ranks(value: Tensor, negatives: Negatives) -> Tensor:
    """Sum of a tensor over the ranks that share negatives, without gradient."""
    return _reduce(value, negatives, dist.ReduceOp.SUM)


def extremes_over_ranks(values: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
    """Smallest and largest of (R,) values over the ranks that share negatives, without gradient.

    Infinite, the wrong way round, where no rank has a value.
    """
    infinity = values.new_full((1,), torch.inf)
    low = torch.cat([values, infinity]).amin()
    high = torch.cat([values, -infinity]).amax()
    return (
        _reduce(low, negatives, dist.ReduceOp.MIN),
        _reduce(high, negatives, dist.ReduceOp.MAX),
    )


def _reduce(value: Tensor, negatives: Negatives, operation: Any) -> Tensor:
    if world_size(negatives) == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value, operation)
    return value


def _counts(rows: Tensor) -> list[int]:
    """Number of rows of each rank."""
    own = torch.tensor([len(rows)], device=rows.device)
    counts = own.new_empty(dist.get_world_size())
    dist.all_gather(list(counts.split(1)), own)
    return counts.tolist()


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        # equal sizes for the exchange; bool has no reduction or exchange in every backend
        sent = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
        padded = sent.new_zeros(max(counts), *sent.shape[1:])
        padded[: len(sent)] = sent
        received = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(received, padded)
        parts = [part[:count] for part, count in zip(received, counts, strict=True)]
        return torch.cat(parts).to(rows.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.split(ctx.counts)[dist.get_rank()], None
