# SPDX-License-Identifier: Apache-2.0
"""``lidistill report``: the page of a finished (or half finished) run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "build the HTML report of a run from its report folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("folder", type=Path, help="a work dir with report/, or that folder itself")
    parser.add_argument("--out", type=Path, help="the page (default: report.html beside report/)")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from lidistill.visualization.report import write_report
    from lidistill.visualization.report_data import ReportData

    data = ReportData.load(args.folder)
    out = write_report(data, args.out or data.folder.parent / "report.html")
    sys.stdout.write(f"{out} ({out.stat().st_size / 2**20:.1f} MiB)\n")
    return 0
