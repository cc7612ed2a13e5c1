# SPDX-License-Identifier: Apache-2.0
"""``lidistill train``: train a config, all its stages, from where the last run ended."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from lidistill import compat, provenance
from lidistill.distill.unlabelled import refuse_without_teacher
from lidistill.engine.configs.options import parse_options
from lidistill.engine.configs.overrides import (
    EVERYWHERE,
    add_monitor,
    apply_overrides,
    split_options,
)
from lidistill.engine.configs.read import add_config_arguments, load_config, needs
from lidistill.engine.configs.shipped import find_config
from lidistill.engine.configs.stages import (
    fill_stage_checkpoints,
    fingerprint,
    info_files,
    load_stage,
    trained_values,
)
from lidistill.engine.distributed import from_rank_0, is_main_process, joined, wrap_for_cpu
from lidistill.engine.stopping import (
    StopHook,
    Stopped,
    StopRequest,
    Underway,
    at_once,
    shield_workers,
)
from lidistill.engine.tools import run_tool
from lidistill.engine.untrained import refuse_untrained
from lidistill.hooks.run_folder import (
    NOTE,
    clear,
    finished_checkpoint,
    latest_checkpoint,
    note_run,
    note_written,
    read_run,
    refuse_damaged,
    refuse_foreign,
)
from lidistill.io import exclusive

HELP = "train a config; the same command continues a run that was interrupted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``lidistill train``."""
    add_config_arguments(parser)
    parser.add_argument("--work-dir", help="logs and checkpoints (default work_dirs/<config name>)")
    parser.add_argument(
        "--data-root", help="use the dataset here instead of the config's data_root"
    )
    parser.add_argument("--seed", type=int, help="initial weights and data order (default: config)")
    parser.add_argument(
        "--iters", type=int, help="train this many iterations instead of the config's"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision (bfloat16)")
    parser.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="one step from the gradients of N batches (iterations count batches)",
    )
    parser.add_argument(
        "--monitor",
        type=int,
        metavar="N",
        help="look at the embeddings every N iterations, without labels (docs/monitoring.md)",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="begin anew: remove what the run in the work dir wrote",
    )
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none",
        help="how several processes were started (tools/dist_train.sh, tools/slurm_train.sh)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Entry of the verb."""
    options = parse_options(args.cfg_options)
    for name in EVERYWHERE:
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    train(
        args.config,
        work_dir=args.work_dir,
        data_root=args.data_root,
        seed=args.seed,
        amp=args.amp,
        restart=args.restart,
        launcher=args.launcher,
        options=options,
    )
    return 0


def train(
    config: str | Path,
    work_dir: str | Path | None = None,
    *,
    data_root: str | None = None,
    seed: int | None = None,
    amp: bool = False,
    restart: bool = False,
    launcher: str = "none",
    options: dict[str, Any] | None = None,
    only: Sequence[str] | None = None,
    quiet: bool = False,
) -> Path:
    """Train a config with all its stages; finished stages are skipped, a broken one is continued.

    Args:
        config: config file.
        work_dir: default ``work_dirs/<config name>``; stages go into sub-folders.
        data_root: replaces the config's ``data_root`` in every path.
        seed: replaces ``randomness.seed``.
        amp: bfloat16 autocast.
        restart: remove first what the run in ``work_dir`` wrote, and nothing else.
        launcher: mmengine's launcher name.
        options: dotted key -> value, applied last; in a staged config ``<stage>.<key>``. ``iters``
            is the number of iterations, ``accumulate`` that of batches to one step, ``monitor``
            that of iterations between two looks of the monitor; in a staged config without a
            stage's name, of each stage.
        only: stages to run, in the config's order; None runs all.
        quiet: mmengine's log goes to files only; a progress bar, or a line now and then, stays.

    Returns:
        The final checkpoint (of the last stage that ran).
    """
    compat.apply()
    config = find_config(config)
    cfg = load_config(config, data_root=data_root)
    folder = Path(work_dir or Path("work_dirs") / config.stem)
    stages = cfg.get("stages")
    with joined(launcher, cfg.get("env_cfg", {}).get("dist_cfg")):
        if not stages:
            if cfg.get("tool") is None:
                needs(cfg, config, "model", "train_dataloader")
            apply_overrides(cfg, seed, amp, options or {})
            return train_one(cfg, folder, {}, restart, launcher, quiet)
        names = [stage["name"] for stage in stages]
        stage_options = split_options(options or {}, names)
        unknown = set(only or ()) - set(names)
        if unknown:
            raise ValueError(f"{config} has no stages {sorted(unknown)}; it has {names}")
        checkpoints: dict[str, Path] = {}
        for name in names if restart and is_main_process() else ():
            refuse_foreign(folder / name)  # before the first of them is trained anew
        for stage in stages:
            if only is not None and stage["name"] not in only:
                continue
            _, stage_cfg = load_stage(config, stage, data_root)
            apply_overrides(stage_cfg, seed, amp, stage_options[stage["name"]])
            checkpoints[stage["name"]] = train_one(
                stage_cfg, folder / stage["name"], checkpoints, restart, launcher, quiet
            )
        return list(checkpoints.values())[-1]


def train_one(
    cfg: Any,
    work_dir: Path,
    checkpoints: dict[str, Path],
    restart: bool = False,
    launcher: str = "none",
    quiet: bool = False,
) -> Path:
    """Train one stage to its end, from its latest checkpoint if there is one.

    A config with ``tool`` trains nothing (:mod:`lidistill.engine.tools`). A second process that is
    told the same waits for the first and takes its result. In a
    distributed training rank 0 alone looks at the folder and writes to it.
    """
    sources = fill_stage_checkpoints(cfg, checkpoints) | info_files(cfg)
    if restart and is_main_process():
        refuse_foreign(work_dir)  # before a lock is put there
    with exclusive(work_dir, "trains") if is_main_process() else nullcontext():
        if cfg.get("tool") is not None:
            return from_rank_0(lambda: run_tool(cfg, work_dir, restart, sources))
        return _train_alone(cfg, work_dir, sources, restart, launcher, quiet)


def _train_alone(
    cfg: Any, work_dir: Path, sources: dict[str, str], restart: bool, launcher: str, quiet: bool
) -> Path:
    from lidistill.models.detectors.ranges import check_ranges

    check_ranges(cfg)
    key, values = fingerprint(cfg), trained_values(cfg)
    done, latest, before = from_rank_0(lambda: _begin(cfg, work_dir, key, values, sources, restart))
    if done is not None:
        return done
    cfg.work_dir = str(work_dir)
    cfg.launcher = launcher
    if latest is not None:
        cfg.load_from, cfg.resume = str(latest), True
    wrap_for_cpu(cfg)
    add_monitor(cfg)
    begin, used = time.perf_counter(), time.process_time()
    request = StopRequest()

    def spent() -> dict[str, Any]:
        """Seconds over all starts of this run, and the commits of its code."""
        return {
            "commit": before["commit"],
            "wall_s": round(before["wall_s"] + time.perf_counter() - begin, 3),
            "process_s": round(before["process_s"] + time.process_time() - used, 3),
        }

    try:
        with console_log(work_dir) if quiet and is_main_process() else nullcontext():
            runner = _run(cfg, work_dir, request, quiet)
    except BaseException:
        if is_main_process():
            note_run(work_dir, key, sources=sources, **spent())
        raise
    final = from_rank_0(lambda: latest_checkpoint(work_dir))
    if final is None:
        raise RuntimeError(
            f"training ended without a checkpoint in {work_dir}; add AtomicCheckpointHook"
        )
    if is_main_process():
        note_run(
            work_dir, key, sources=sources, checkpoint=final.name, iterations=runner.iter,
            seed=runner.seed, resumed_from=latest.name if latest else None,
            processes=runner.world_size, **spent(),
        )  # fmt: skip
    if request.signal:  # it came in the last iteration
        raise Stopped(f"the training is finished: {final}", request.signal)
    return final


def _run(cfg: Any, work_dir: Path, request: StopRequest, quiet: bool) -> Any:
    """Build mmengine's runner, guard it and let it train; the runner."""
    from mmengine.visualization import Visualizer

    from lidistill.engine.configs.caches import note_inputs
    from lidistill.engine.quiet import QuietRunner
    from lidistill.hooks import FiniteLossHook, ProgressBarHook, ScheduleHook

    # mmengine names one by the second: another of the same second would write into its folder
    Visualizer._instance_dict.clear()
    note_inputs(cfg)
    runner = QuietRunner.from_cfg(cfg)
    refuse_without_teacher(
        getattr(runner.model, "module", runner.model), cfg.train_dataloader.dataset
    )
    if not cfg.get("resume"):
        refuse_untrained(runner, cfg.model)
    if is_main_process():
        note_written(work_dir, runner.timestamp, there=True)
    for needed in (FiniteLossHook, ScheduleHook):  # a config's own hooks may have replaced them
        if not any(isinstance(hook, needed) for hook in runner.hooks):
            runner.register_hook(needed())
    runner.register_hook(StopHook(request))
    for hook in runner.hooks:
        if isinstance(hook, ProgressBarHook):
            hook.lines = quiet
    underway = Underway()
    shield_workers(runner, underway)
    try:
        with request.listening(), underway.noted():
            runner.train()
    except Stopped:
        raise
    except KeyboardInterrupt as error:
        raise at_once(work_dir, error) from error
    finally:
        for hook in runner.hooks:
            if isinstance(hook, ProgressBarHook):
                hook.after_train(runner)
    return runner


def _begin(
    cfg: Any,
    work_dir: Path,
    key: str,
    values: dict[str, str],
    sources: dict[str, str],
    restart: bool,
) -> tuple[Path | None, Path | None, dict[str, Any]]:
    """Claim the folder.

    Returns:
        The final checkpoint if the run is finished, the one to go on from, and the seconds that
        earlier starts took, with the commits of all starts.
    """
    if restart:
        clear(work_dir)
    done = finished_checkpoint(work_dir, key, values, sources)
    spent: dict[str, Any] = {"wall_s": 0.0, "process_s": 0.0}
    if done is not None:
        return done, None, spent
    own = Path(cfg.filename).name if cfg.filename else None  # mmengine writes the config down
    if own and (work_dir / own).exists() and (work_dir / own).samefile(cfg.filename):
        raise ValueError(
            f"expected a --work-dir for what the training writes, got {work_dir}, the folder of "
            f"the config {own}, which would be overwritten; name another folder"
        )
    latest = latest_checkpoint(work_dir)
    if latest is not None:
        refuse_damaged(latest)
    if latest is not None and (work_dir / NOTE).is_file():
        noted = read_run(work_dir)
        spent = {name: noted[name] for name in (*spent, "commit")}
    spent["commit"] = provenance.commits(spent.get("commit", ""), provenance.commit())
    note_run(work_dir, key, values, sources, **spent)
    note_written(work_dir, "last_checkpoint", "console.log", *([own] if own else []))
    return None, latest, spent


@contextmanager
def console_log(work_dir: Path) -> Iterator[None]:
    """What mmengine would print goes to ``console.log``."""
    from lidistill.engine.quiet import forget_stream

    with (work_dir / "console.log").open("a") as log:
        try:
            with redirect_stdout(log):
                yield
        finally:
            forget_stream(log)
