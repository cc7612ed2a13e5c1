# SPDX-License-Identifier: Apache-2.0
"""Stop a training at the first loss that is no number, and keep nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from lidistill.hooks.batch_words import first_not_finite, sample_names
from lidistill.registry import HOOKS

SHOWN = 6  # names in a message


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Look at the losses of every iteration before the optimizer steps; guard the checkpoints.

    On the CPU a loss that is not finite ends the iteration before its backward pass. On a GPU the
    answer is fetched while the backward pass runs and read before the step, so nothing waits.
    In a training of several processes each is told of the others' losses and all stop. Gradients
    that overflow under a ``GradScaler`` are its business: it skips the step and lowers the scale.

    Raises:
        ValueError: with the iteration, the loss terms, the samples of the batch and the first
            input that is not finite; or a checkpoint would hold weights that are not.
    """

    priority = "VERY_HIGH"  # before a checkpoint is written

    def __init__(self) -> None:
        self._batch: Any = None
        self._watch: LossWatch | None = None

    def before_train(self, runner: Any) -> None:
        """Attach to the model and its optimizers."""
        if self._watch is None:
            self._watch = LossWatch(_plain(runner.model), lambda: self._check(runner))
            for wrapper in _wrappers(runner.optim_wrapper):
                wrapper.optimizer.register_step_pre_hook(lambda *_: self._check(runner))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Remember what to name."""
        self._batch = data_batch

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """The same where no step was made: while gradients accumulate, or a scaler skipped it."""
        self._check(runner)
        self._batch = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Refuse weights that are no numbers."""
        model = _plain(runner.model)
        broken = broken_weights(model, checkpoint["state_dict"])
        if broken:
            raise ValueError(
                f"iteration {runner.iter + 1}: no checkpoint was written, because {len(broken)} of "
                f"{len(checkpoint['state_dict'])} tensors hold NaN or infinity "
                f"({_some(broken)}), though the losses were finite until here. A gradient was not: "
                f"{_way_on(runner)}"
            )

    def _check(self, runner: Any) -> None:
        if self._watch is None:
            return
        broken, rank = self._watch.answer()
        if rank is not None and not broken:
            raise ValueError(
                f"iteration {runner.iter + 1}: stopped, because the loss of rank {rank} is not "
                "finite; its message says why"
            )
        if broken:
            raise ValueError(self._message(runner, broken))

    def _message(self, runner: Any, broken: list[str]) -> str:
        names, place = sample_names(self._batch), first_not_finite(self._batch)
        model = _plain(runner.model)
        weights = broken_weights(model, model.state_dict())
        of = f" Samples of the batch: {', '.join(names)}." if names else ""
        if place is not None:
            why = f"The input is not finite either: {place}. Correct or leave out that sample; "
            why += "`lidistill create_data` checks what a data set holds"
        elif weights:
            why = (
                f"The inputs are finite, but {len(weights)} tensors of the model are not "
                f"({_some(weights)}): {_way_on(runner)}"
            )
        else:
            why = f"The inputs (points, images, boxes) are finite: {_way_on(runner)}"
        return (
            f"iteration {runner.iter + 1}: {', '.join(broken)} not finite; stopped before the "
            f"optimizer's step, nothing of this iteration was kept.{of} {why}"
        )


class LossWatch:
    """Whether the losses that a model gave last were finite, on every rank.

    Args:
        model: gives a dictionary of losses when it is called with ``mode="loss"``.
        seen: called after such a call, where the answer costs no waiting.
    """

    def __init__(self, model: nn.Module, seen: Callable[[], None]) -> None:
        self._seen = seen
        self._names: list[str] = []
        self._flags: torch.Tensor | None = None  # (terms + 1,): 1 not finite; then rank + 1
        self._ready: torch.cuda.Event | None = None
        model.register_forward_hook(self._saw, with_kwargs=True)

    def _saw(self, model: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        terms = _not_finite(output)
        if kwargs.get("mode", args[-1] if args else None) != "loss" or not terms:
            return
        self._names = list(terms)
        broken = torch.stack(list(terms.values()))
        rank = broken.any().float() * (_rank() + 1)
        if _ranks() > 1:
            torch.distributed.all_reduce(rank, torch.distributed.ReduceOp.MAX)
        flags = torch.cat([broken.float(), rank[None]])
        if flags.is_cuda:
            self._flags = torch.empty(flags.shape, pin_memory=True)
            self._flags.copy_(flags, non_blocking=True)
            self._ready = torch.cuda.Event()
            self._ready.record()
        else:
            self._flags = flags
            self._seen()

    def answer(self) -> tuple[list[str], int | None]:
        """Terms that are not finite here, and the first rank where one is not; once a call."""
        flags, self._flags = self._flags, None
        if flags is None:
            return [], None
        if self._ready is not None:
            self._ready.synchronize()
        broken = [name for name, flag in zip(self._names, flags[:-1], strict=True) if flag]
        return broken, int(flags[-1]) - 1 if flags[-1] else None


def broken_weights(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Parameters and running statistics of ``state`` that are not finite.

    Other buffers are constants, and infinity may be one (masks).
    """
    learned = {name for name, _ in model.named_parameters()}
    return [
        name
        for name, value in state.items()
        if (name in learned or name.endswith(("running_mean", "running_var")))
        and isinstance(value, torch.Tensor)
        and not bool(torch.isfinite(value).all())
    ]


def _not_finite(output: Any) -> dict[str, torch.Tensor]:
    """Which losses are not finite, as mmengine sums them: entries with ``loss`` in their names.

    Of a list (one loss a level of features) it is any part.
    """
    found: dict[str, torch.Tensor] = {}
    for name, value in output.items() if isinstance(output, Mapping) else ():
        for part in value if isinstance(value, list | tuple) else [value]:
            if "loss" in str(name) and isinstance(part, torch.Tensor):
                broken = (~torch.isfinite(part.detach())).any()
                found[str(name)] = found.get(str(name), broken) | broken
    return found


def _way_on(runner: Any) -> str:
    return (
        "lower the learning rate or clip gradients (optim_wrapper.clip_grad) and begin anew with "
        "--restart, or, from the weights of the last checkpoint in "
        f"{runner.work_dir}, with another --work-dir and --cfg-options load_from=CHECKPOINT"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _plain(model: nn.Module) -> Any:
    return model.module if is_model_wrapper(model) else model


def _wrappers(wrapper: Any) -> list[Any]:
    """One optimizer wrapper, or those of an OptimWrapperDict."""
    several = getattr(wrapper, "optim_wrappers", None)
    return list(several.values()) if several else [wrapper]


def _ranks() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
