# SPDX-License-Identifier: Apache-2.0
"""Run a function in several processes of one group (gloo), and collect what each returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist


def run_ranks(function: Callable[[], Any], folder: Path, ranks: int = 2) -> list:
    """Results of the ranks, in order; they go through ``torch.save``."""
    torch.multiprocessing.spawn(_one_rank, (function, str(folder), ranks), nprocs=ranks)
    return [torch.load(folder / f"{rank}.pt") for rank in range(ranks)]


def _one_rank(rank: int, function: Callable[[], Any], folder: str, ranks: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/group", rank=rank, world_size=ranks
    )
    torch.save(function(), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def average_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """Mean over the ranks: what DistributedDataParallel makes of gradients."""
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()
