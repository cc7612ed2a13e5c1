# SPDX-License-Identifier: Apache-2.0
"""``lidistill report``: the page of a run, or of a detector beside its baseline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lidistill.engine.configs.options import parse_options
from lidistill.engine.configs.read import add_options_argument

HELP = "build the HTML report of a run; with --config, score and picture a detector first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("folder", type=Path, help="a work dir with report/, or that folder itself")
    parser.add_argument("--out", type=Path, help="the page (default: report.html beside report/)")
    detector = parser.add_argument_group("a detector", "makes FOLDER/report from its checkpoint")
    detector.add_argument("--config", help="it was trained with")
    detector.add_argument("--checkpoint", type=Path, help="of the detector, or of a distillation")
    detector.add_argument("--baseline", type=Path, help="checkpoint of the same detector untaught")
    detector.add_argument("--frames", type=int, default=3, help="validation frames to picture")
    detector.add_argument("--score", type=float, default=0.3, help="boxes above it are drawn")
    detector.add_argument("--data-root", help="use the dataset here instead of the config's")
    add_options_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb.

    Raises:
        ValueError: one of ``--config`` and ``--checkpoint`` without the other.
    """
    from lidistill.visualization.report import write_report
    from lidistill.visualization.report_data import ReportData

    if (args.config is None) != (args.checkpoint is None):
        raise ValueError("a detector's report needs both --config and --checkpoint")
    if args.config is not None:
        from lidistill.engine.reporting.detection import Subject, fill_report

        named = {} if args.baseline is None else {"baseline": args.baseline}
        subject = Subject(args.config, {**named, "detector": args.checkpoint}, args.data_root)
        options = parse_options(args.cfg_options)
        fill_report(subject, args.folder, args.frames, args.score, options=options).save()
    data = ReportData.load(args.folder)
    out = write_report(data, args.out or data.folder.parent / "report.html")
    sys.stdout.write(f"{out} ({out.stat().st_size / 2**20:.1f} MiB)\n")
    return 0
