# SPDX-License-Identifier: Apache-2.0
"""One training in several processes: joining them, on GPUs (NCCL) or on CPUs (gloo)."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from mmengine.dist import (
    broadcast_object_list,
    get_dist_info,
    init_dist,
    is_distributed,
    is_main_process,
)
from torch import distributed as dist

from lidistill.engine.watching import watch_ranks

Result = TypeVar("Result")

RANK_VARIABLES = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}
"""Rank, number of ranks and rank on the own machine, as each launcher names them."""
DOORS = {
    "pytorch": "tools/dist_train.sh CONFIG GPUS",
    "slurm": "tools/slurm_train.sh PARTITION JOB CONFIG",
    "mpi": "mpirun -n GPUS python tools/train.py CONFIG --launcher mpi",
}
PORT = "29500"
KEEPERS = (
    "torch.distributed.nn.functional",  # else imported by DDP
    "torch.distributed.optim.zero_redundancy_optimizer",  # else by mmengine's runner
)
"""Modules with ``group=dist.group.WORLD`` as a default: the group there is at their import."""


@contextmanager
def joined(launcher: str, settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Be one of the processes that a launcher started, as long as the block runs.

    Args:
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        settings: of ``env_cfg.dist_cfg``: ``backend``, ``timeout`` in seconds; for GPUs only.

    Raises:
        ValueError: the launcher's variables are not in the environment, a machine has fewer GPUs
            than processes, or another rank is gone.
    """
    if launcher == "none" or is_distributed():
        yield
        return
    local_rank = _name_ranks(launcher)
    for name in KEEPERS:
        importlib.import_module(name)  # as long as there is no group to keep: see _leave
    gpus = torch.cuda.device_count()
    if gpus == 0:
        dist.init_process_group("gloo")
    elif local_rank < gpus:
        init_dist(launcher, **(settings or {}))
    else:
        raise ValueError(
            f"process {local_rank} of this machine has no GPU: {gpus} are visible; start as many "
            "processes as there are GPUs"
        )
    watch = watch_ranks()
    try:
        yield
        dist.barrier()  # or the first to leave would be missed by the others
    except RuntimeError as error:
        gone = watch.blame() if watch else ""
        if gone:
            raise ValueError(
                f"{gone}. Start all of them again with the same command: the training continues "
                "from its last checkpoint"
            ) from error
        raise
    finally:
        if watch:
            watch.stop()
    _leave()  # not after an error: the other ranks may never get here


def from_rank_0(function: Callable[[], Result]) -> Result:
    """What ``function`` gives on rank 0, on every rank; the others wait and do not call it.

    Raises:
        SystemExit: on the other ranks, where it raised on rank 0 (which raises its own error).
    """
    if not is_distributed():
        return function()
    answer: list[Any] = [None, False]
    try:
        if is_main_process():
            answer = [function(), True]
    finally:
        broadcast_object_list(answer)
    if not answer[1]:
        raise SystemExit(1)
    return answer[0]


def wrap_for_cpu(cfg: Any) -> None:
    """Tell mmengine not to look for a GPU when it wraps the model of a distributed training."""
    if get_dist_info()[1] > 1 and not torch.cuda.is_available():
        cfg.model_wrapper_cfg = {
            "type": "MMDistributedDataParallel",
            "device_ids": None,
            "broadcast_buffers": False,
            "find_unused_parameters": cfg.get("find_unused_parameters", False),
            **cfg.get("model_wrapper_cfg", {}),
        }


def _leave() -> None:
    """Destroy the group, so that its threads have ended when this returns.

    gloo joins its threads where the last reference to the group goes, not where the group is
    destroyed. A thread that outlives it may still hold the tensors of the last broadcast. If it
    asks for the interpreter's lock to drop them just as the interpreter begins to finalize, Python
    before 3.14 ends the thread inside a C++ destructor: "terminate called without an active
    exception", and a rank that had done its work dies of SIGABRT. So nothing may refer to the
    group: neither ``KEEPERS`` nor DDP, which mmengine's runner holds in a reference cycle.
    """
    gc.collect()
    dist.destroy_process_group()


def _name_ranks(launcher: str) -> int:
    """Set the variables that torch reads from the launcher's own; the rank on this machine."""
    names = RANK_VARIABLES[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f"--launcher {launcher} expects {', '.join(names)} in the environment, but "
            f"{', '.join(missing)} is missing; start with {DOORS[launcher]}"
        )
    for name, theirs in zip(RANK_VARIABLES["pytorch"], names, strict=True):
        os.environ[name] = os.environ[theirs]
    os.environ.setdefault("MASTER_PORT", PORT)
    if "MASTER_ADDR" not in os.environ:
        os.environ["MASTER_ADDR"] = _first_host() if launcher == "slurm" else "127.0.0.1"
    return int(os.environ["LOCAL_RANK"])


def _first_host() -> str:
    """The first machine of a SLURM job."""
    command = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
    hosts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return hosts[0]
