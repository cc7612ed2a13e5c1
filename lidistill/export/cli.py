# SPDX-License-Identifier: Apache-2.0
"""The verb ``lidistill export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "hand a student on: plain, a detector for mmdet3d alone, SLidR, OpenPCDet or mmdet3d"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", type=Path, help="iter_*.pth, or what import_weights reads")
    add_output(parser)
    parser.add_argument(
        "--to",
        choices=("student", "detector", "slidr", "openpcdet", "mmdet3d"),
        default="student",
        help="student: its tensors as they are; detector: weights and config of a detector, for "
        "mmdet3d alone; slidr: model_points; openpcdet: backbone_3d of "
        "VoxelBackBone8x; mmdet3d: SparseEncoder or MinkUNetBackbone",
    )
    parser.add_argument(
        "--prefix", help="what stands before every name, for example pts_middle_encoder."
    )
    parser.add_argument(
        "--in-channels",
        type=int,
        metavar="C",
        help="input channels of the other network; added ones get zero weights",
    )
    parser.add_argument("--config", type=Path, help="of the training, for --to detector")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare what both directions share: the file to write, or none."""
    parser.add_argument(
        "out", type=Path, nargs="?", help="file to write: .pth or .safetensors (tensors alone)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the report, write nothing")


def output_of(args: argparse.Namespace) -> Path | None:
    """The file to write; None in a dry run.

    Raises:
        ValueError: neither a file nor a dry run was asked for.
    """
    if args.dry_run:
        return None
    if args.out is None:
        raise ValueError("expected a file to write after the checkpoint, or --dry-run")
    return Path(args.out)


def run(args: argparse.Namespace) -> int:
    """Convert, and print what became of every tensor."""
    from lidistill.export.exporting import export_student

    out = output_of(args)
    report = export_student(
        args.checkpoint, out, args.to, args.prefix, args.in_channels, args.config
    )
    sys.stdout.write(report.text() + written(out))
    return 0


def written(out: Path | None) -> str:
    """The report's last line."""
    return "dry run: nothing written\n" if out is None else f"written: {out}\n"
