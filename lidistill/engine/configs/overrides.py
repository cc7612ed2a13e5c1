# SPDX-License-Identifier: Apache-2.0
"""What the command line changes in a config before it is trained."""

from __future__ import annotations

import math
from typing import Any

from lidistill.engine.configs.options import merge_options

EVERYWHERE = ("iters", "accumulate", "monitor")
"""Options that hold for every stage of a staged config unless a stage's name stands before them."""


def apply_overrides(cfg: Any, seed: int | None, amp: bool, options: dict[str, Any]) -> None:
    """Change a config in place; the words of :data:`EVERYWHERE` first, then dotted keys.

    Args:
        cfg: mmengine's Config of one stage.
        seed: replaces ``randomness.seed``.
        amp: bfloat16 autocast.
        options: ``iters``: number of iterations; ``accumulate``: batches whose gradients make one
            step; ``monitor``: iterations between two looks of the monitor; all others are dotted
            keys.
    """
    if seed is not None:
        cfg.merge_from_dict({"randomness.seed": seed})
    options = dict(options)
    iters, accumulate, monitor = (options.pop(name, None) for name in EVERYWHERE)
    if iters is not None:
        _set_iterations(cfg, int(iters))
    if accumulate is not None:
        _set_accumulation(cfg, int(accumulate))
    if monitor is not None:
        cfg.monitor = {"type": "lidistill.MonitorHook", "interval": int(monitor)}
    if amp:
        cfg.optim_wrapper.type = "lidistill.engine.amp.BFloat16OptimWrapper"
    merge_options(cfg, options)


def add_monitor(cfg: Any) -> None:
    """Turn the config's ``monitor`` into one of its hooks.

    It stands outside of ``custom_hooks``, and is added after the fingerprint was taken, because it
    does not change what is trained: a run may be continued with or without it.
    """
    monitor = cfg.pop("monitor", None)
    if monitor:
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), monitor]


def split_options(options: dict[str, Any], stages: list[str]) -> dict[str, dict[str, Any]]:
    """Options of each stage from ``<stage>.<key>``; those of :data:`EVERYWHERE` go to all.

    Raises:
        ValueError: a key begins with no stage's name.
    """
    split: dict[str, dict[str, Any]] = {name: {} for name in stages}
    shared = {key: options[key] for key in EVERYWHERE if key in options}
    own = {key: value for key, value in options.items() if key not in shared}
    for name in stages:
        split[name].update(shared)
    for key, value in own.items():
        stage, _, rest = key.partition(".")
        if stage not in split or not rest:
            raise ValueError(
                f"option {key!r} must begin with a stage: {', '.join(f'{s}.KEY' for s in stages)}"
            )
        split[stage][rest] = value
    return split


def _set_iterations(cfg: Any, iters: int) -> None:
    """Train ``iters`` iterations; learning-rate schedules shrink or grow with them."""
    if cfg.train_cfg.pop("max_epochs", None) is not None:  # schedules end with the training
        cfg.train_cfg.max_iters = iters
        return
    ratio = iters / cfg.train_cfg.max_iters
    cfg.train_cfg.max_iters = iters
    schedulers = []
    given: Any = cfg.get("param_scheduler") or []
    for scheduler in [given] if "type" in given else given:
        for name in ("begin", "end", "T_max"):
            if name in scheduler:
                scheduler[name] = round(scheduler[name] * ratio)
        for name in ("step_size", "total_steps"):
            if scheduler.get(name):
                scheduler[name] = max(1, round(scheduler[name] * ratio))
        for name in ("milestones", "periods"):
            if name in scheduler:
                scheduler[name] = [max(1, round(value * ratio)) for value in scheduler[name]]
        end = scheduler.get("end", math.inf)  # mmengine's own: that of the training
        if end > scheduler.get("begin", 0):  # a warm-up may shrink to nothing
            schedulers.append(scheduler)
    cfg.param_scheduler = schedulers


def _set_accumulation(cfg: Any, batches: int) -> None:
    if batches < 1:
        raise ValueError(f"--accumulate: expected a number of batches >= 1, got {batches}")
    cfg.optim_wrapper.accumulative_counts = batches
