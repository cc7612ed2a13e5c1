# SPDX-License-Identifier: Apache-2.0
"""The verb ``lidistill import_weights``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lidistill.export.cli import add_output, output_of, written

HELP = "read weights of SLidR, OpenPCDet, mmdet3d, torchsparse or BEVDet into ours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", type=Path, help="the file: .pt, .pth, .ckpt, .safetensors")
    add_output(parser)
    parser.add_argument(
        "--head",
        choices=("connector", "student"),
        default="connector",
        help="where a MinkUNet's output layer goes: connectors.point, or student.final",
    )
    parser.add_argument(
        "--kernels",
        choices=("auto", "minkowski", "torchsparse"),
        default="auto",
        help="who wrote tensors called kernel; auto knows MinkowskiEngine",
    )
    parser.add_argument(
        "--config", type=Path, help="of a BEV detector: the checkpoint is read into it"
    )
    parser.add_argument(
        "--boxes",
        choices=("auto", "mmdet3d-1", "mmdet3d-0"),
        default="auto",
        help="with --config: how the head counts yaw and sizes, where the file does not say",
    )


def run(args: argparse.Namespace) -> int:
    """Convert, and print what became of every tensor."""
    from lidistill.export.importing import import_weights

    out = output_of(args)
    if args.config is not None:
        from lidistill.export.bev_detectors import import_bev_detector

        report = import_bev_detector(args.checkpoint, args.config, out, args.boxes)
        sys.stdout.write(report.text() + written(out))
        return 0
    report = import_weights(args.checkpoint, out, args.head, args.kernels)
    sys.stdout.write(report.text() + written(out))
    return 0
