# SPDX-License-Identifier: Apache-2.0
"""``lidistill demo``: from nothing to a pretrained LiDAR network and a report, on two CPU cores."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lidistill import provenance
from lidistill.engine.train import train
from lidistill.evaluation.probes.result import ProbeResult
from lidistill.evaluation.results import ResultRow
from lidistill.evidence import slidr_report, slidr_runs
from lidistill.hooks.run_folder import read_run
from lidistill.io import read_json, write_json
from lidistill.visualization.report import write_report
from lidistill.visualization.report_data import ReportData

HELP = "generate the embedded world, pretrain a LiDAR network from its images, write a report"

STAGED = Path("configs/slidr/demo.py")
PRETRAIN = Path("configs/slidr/demo_pretrain.py")
STAGES = ("image_teacher", "pretrain", "permuted")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``lidistill demo``."""
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"))
    parser.add_argument("--data", type=Path, default=Path("data/world"), help="folder of the world")
    parser.add_argument("--preset", default="demo", help="size of the world")
    parser.add_argument("--seed", type=int, default=0, help="weights and data order")
    parser.add_argument(
        "--iters", type=int, help="iterations of every stage (default: the configs')"
    )


def run(args: argparse.Namespace) -> int:
    """Entry of the verb; every step that is done already is skipped."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    begin = time.perf_counter()

    def step(number: int, title: str) -> None:
        elapsed = time.perf_counter() - begin
        console.print(f"[bold cyan]{number}/5[/] [bold]{title}[/] [dim]({elapsed:.0f} s)[/]")

    def say(line: str) -> None:
        console.print(f"      [dim]$ {line}[/]")

    step(1, "Embedded world: generate, convert, superpixels")
    world = slidr_runs.prepare_world(args.data, args.preset, seed=0, say=say)
    step(2, "Train: image teacher, SLidR, and SLidR on permuted regions (control)")
    words = ["lidistill", "train", STAGED, "--work-dir", args.work_dir, "--data-root", world.root]
    words += ["--seed", args.seed] + ([] if args.iters is None else ["--iters", args.iters])
    command = shlex.join(map(str, words))
    options = {} if args.iters is None else {"iters": args.iters}
    say(command)
    root = str(world.root)
    train(STAGED, args.work_dir, data_root=root, seed=args.seed, options=options, quiet=True)
    step(3, "Linear probes: random weights, pretrained, controls")
    rows, protocol = _probe_rows(args, world, console)
    step(4, "Pictures")
    data = _report_data(args, world, rows, protocol, [*world.commands, command])
    step(5, "Report")
    data.facts["time of this run"] = f"{(time.perf_counter() - begin) / 60:.1f} min"
    data.save()
    page = write_report(data, args.work_dir / "report.html")
    for row in rows:
        console.print(f"      {row.name:<42} mIoU {row.values[0]:.3f}")
    console.print(f"[bold green]done[/] in {time.perf_counter() - begin:.0f} s: {page.resolve()}")
    return 0


def _probe_rows(
    args: argparse.Namespace, world: slidr_runs.WorldData, console: Console
) -> tuple[list[ResultRow], str]:
    """The table's rows; a probe that is stored for this very checkpoint is not run again."""
    finals = {name: final_checkpoint(args.work_dir / name) for name in ("pretrain", "permuted")}

    def probe(checkpoint: Path | None) -> ProbeResult:
        return slidr_runs.probe_checkpoint(PRETRAIN, world.root, checkpoint, args.seed)

    def seconds(*stages: str) -> float:
        return sum(float(read_run(args.work_dir / stage)["wall_s"]) for stage in stages)

    random, twin = "random weights", "random weights"
    trained = {
        "SLidR": seconds("image_teacher", "pretrain"),
        "permuted regions": seconds("image_teacher", "permuted"),
    }
    runs: list[tuple[str, str | None, str, Callable[[], ProbeResult]]] = [
        (random, None, "", lambda: probe(None)),
        ("SLidR", twin, "", lambda: probe(finals["pretrain"])),
        (
            "permuted regions",
            twin,
            "negative control: every region is taught the image feature of another region",
            lambda: probe(finals["permuted"]),
        ),
        (
            "MLP on raw inputs",
            twin,
            "control: what intensity and height of a point say without any network",
            lambda: slidr_runs.probe_inputs(PRETRAIN, world.root, args.seed),
        ),
    ]
    rows, protocol = [], ""
    for name, row_twin, note, run_probe in runs:
        begin = time.perf_counter()
        result = run_probe()
        wall_s = time.perf_counter() - begin
        console.print(f"      {name}: mIoU {result.miou:.3f} ({wall_s:.0f} s)")
        rows.append(
            slidr_report.result_row(
                name,
                result,
                twin=row_twin,
                seed=args.seed,
                config=str(PRETRAIN),
                wall_s=wall_s + trained.get(name, 0.0),
                note=note,
            )
        )
        protocol = protocol or result.protocol
    write_json(args.work_dir / "linear_probe.json", {row.name: row.values[0] for row in rows})
    return rows, protocol


def _report_data(
    args: argparse.Namespace,
    world: slidr_runs.WorldData,
    rows: list[ResultRow],
    protocol: str,
    commands: list[str],
) -> ReportData:
    data = ReportData(
        folder=args.work_dir / "report",
        title="SLidR on the embedded world",
        lead="A LiDAR network was pretrained from camera images, without labels: superpixels teach "
        "superpoints. Then a linear classifier reads the classes from its frozen features.",
        dataset=world.name,
        method="SLidR",
        rows=rows,
        protocol=protocol,
        commands=commands,
        facts={
            "seed": str(args.seed),
            "commit": provenance.commit(),
            "hardware": provenance.hardware(),
        },
        notes=[
            "The world is synthetic. None of these numbers says anything about nuScenes.",
            "One seed. `make evidence-slidr` runs three, on more validation scenes.",
        ],
    )
    checkpoint = final_checkpoint(args.work_dir / "pretrain")
    slidr_report.add_input_pictures(data, world.root)
    slidr_report.add_teacher_picture(
        data, PRETRAIN, final_checkpoint(args.work_dir / "image_teacher"), world.root
    )
    slidr_report.add_feature_pictures(
        data,
        PRETRAIN,
        {"Random weights": None, "Pretrained by SLidR": checkpoint},
        world.root,
        args.seed,
    )
    stages = {name: args.work_dir / name for name in STAGES}
    slidr_report.add_training_curves(data, stages)
    return data


def final_checkpoint(work_dir: Path) -> Path:
    """Final checkpoint of a finished stage."""
    return work_dir / str(read_json(work_dir / "run.json")["checkpoint"])
