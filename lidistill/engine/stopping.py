# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and a cluster's notice (SIGTERM) end a training at the end of an iteration, saved."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dataset import worker_init_fn
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from torch import distributed as dist

from lidistill.hooks.run_folder import latest_checkpoint
from lidistill.interrupts import ASKED, Interrupted
from lidistill.registry import HOOKS

ECHO_S = 3.0  # torchrun hands on a signal that its processes have received already
LOOK_S = 2  # a data worker that was told to end looks so often whether it still is needed


class Stopped(Interrupted):
    """A training was ended by a signal.

    Args:
        kept: what was saved, or where it goes on.
        number: the signal's.
    """

    def __init__(self, kept: str, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.args = (kept,)
        self.kept = kept.replace("{", "{{").replace("}", "}}")  # the command line fills in options


def at_once(work_dir: Path, error: KeyboardInterrupt) -> Stopped:
    """What to say of a training that a second signal cut short: where it will go on."""
    latest = latest_checkpoint(work_dir)
    where = f"the last checkpoint is {latest}" if latest else "there is no checkpoint yet"
    return Stopped(f"ended at once; {where}", getattr(error, "number", signal.SIGINT))


class StopRequest:
    """Takes the first signal that asks to end as a request; the second acts as it did before."""

    def __init__(self) -> None:
        self.signal = 0
        self._when = 0.0
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the signals while the block runs; elsewhere than in the main thread, nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        found = {number: signal.getsignal(number) for number in ASKED}
        ignored = (signal.SIG_IGN, None)  # nohup
        self._before = {n: handler for n, handler in found.items() if handler not in ignored}
        for number in self._before:
            signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked data worker: the training ends it
            return
        if not self.signal:
            self.signal, self._when = number, time.monotonic()
            name = signal.Signals(number).name
            text = f"{name}: the running iteration is finished and saved; a second one ends at once"
            os.write(2, f"{text}\n".encode())  # not sys.stderr: it may be in the middle of a write
            return
        if "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._when < ECHO_S:
            return
        signal.signal(number, self._before[number])
        signal.raise_signal(number)

    def agreed(self) -> int:
        """The signal that any rank has received, 0 if none; every rank must ask."""
        if not (dist.is_available() and dist.is_initialized()):
            return self.signal
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        number = torch.tensor(self.signal, device=device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)


@HOOKS.register_module()
class StopHook(Hook):
    """End a training that was asked to: a checkpoint of what is done, then :class:`Stopped`.

    Where several batches make one step, the step is finished first. The last iteration is no
    matter of this hook: the training ends there by itself.

    Args:
        request: what the signals set.
    """

    priority = "LOWEST"  # after whatever else belongs to the iteration

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look, at the end of an iteration."""
        number = self.request.agreed()
        batches = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        done = runner.iter + 1
        if number and done % batches == 0 and done < runner.max_iters:
            self._end(runner, done, number)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """A validation in the middle of a training may be long: it is left, its turn is over."""
        alone = not (dist.is_available() and dist.is_initialized())
        swapped = any(isinstance(hook, EMAHook) for hook in runner.hooks)  # other weights are in
        training = 0 < runner.iter < runner.max_iters
        if self.request.signal and alone and training and not swapped:
            self._end(runner, runner.iter, self.request.signal)

    def _end(self, runner: Any, done: int, number: int) -> None:
        path = Path(runner.work_dir) / f"iter_{done}.pth"
        latest = latest_checkpoint(runner.work_dir)
        if latest is None or latest.name != path.name:
            hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
            hook._save_checkpoint_with_step(
                runner, done, meta={"epoch": runner.epoch, "iter": done}
            )
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
            if dist.get_rank() > 0:  # a launcher ends the others as soon as the first one goes
                time.sleep(ECHO_S)
        raise Stopped(f"iteration {done} of {runner.max_iters} is saved in {path}", number)


class Underway:
    """Whether a training runs, told to its data workers through shared memory."""

    def __init__(self) -> None:
        self._flag = multiprocessing.RawValue("b", 0)

    def __deepcopy__(self, _memo: object) -> Underway:
        """A config that is copied still speaks of the same training."""
        return self

    def __bool__(self) -> bool:
        return bool(self._flag.value)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """While the block runs, the training does."""
        self._flag.value = 1
        try:
            yield
        finally:
            self._flag.value = 0


def shield_workers(runner: Any, underway: Underway) -> None:
    """Let the data loader's processes live through a signal that is sent to all of a job's.

    Args:
        runner: mmengine's, before its training loop is built.
        underway: says when they are needed no more.
    """
    loader = runner._train_dataloader
    if isinstance(loader, dict) and loader.get("num_workers") and "worker_init_fn" not in loader:
        loader["worker_init_fn"] = {
            "type": shielded_worker,
            "underway": underway,
            "num_workers": loader["num_workers"],
            "rank": runner.rank,
            "seed": runner.seed,
            "disable_subprocess_warning": loader.pop("disable_subprocess_warning", False),
        }


def shielded_worker(worker_id: int, underway: Underway, **settings: Any) -> None:
    """mmengine's start of a data worker; then SIGINT is the parent's, and SIGTERM can wait.

    A running iteration, however long, needs its workers. They go when the training is over, which
    ends them by SIGTERM too, or when its process is gone.
    """
    worker_init_fn(worker_id, **settings)
    parent = os.getppid()

    def look(_number: int, _frame: FrameType | None) -> None:
        if underway and os.getppid() == parent:
            signal.alarm(LOOK_S)
        else:
            os._exit(0)  # another code would be an error to torch's loader

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, look)
    signal.signal(signal.SIGALRM, look)
