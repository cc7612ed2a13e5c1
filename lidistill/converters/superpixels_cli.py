# SPDX-License-Identifier: Apache-2.0
"""``lidistill superpixels``: fill a store with the superpixels of every camera image."""

from __future__ import annotations

import argparse

HELP = "compute superpixels of all camera images, once, into a store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("infos", nargs="+", help="info files of lidistill create_data")
    parser.add_argument("--data-root", required=True, help="folder of the dataset")
    parser.add_argument("--out", required=True, help="folder of the store")
    parser.add_argument("--segments", type=int, default=150, help="wished number in an image")
    parser.add_argument("--compactness", type=float, default=6.0)
    parser.add_argument("--sigma", type=float, default=3.0, help="blur before, pixels")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="work on a smaller image; 0.5 is about 4x faster"
    )
    parser.add_argument("--jobs", type=int, default=None, help="processes; default: all cores")
    parser.add_argument("--engine", choices=("loky", "ray", "dask"), default="loky")
    parser.add_argument(
        "--dry-run", action="store_true", help="count the work, estimate time and disk, and stop"
    )


def run(args: argparse.Namespace) -> int:
    """Does the work, or with ``--dry-run`` says how much there is."""
    from rich.console import Console

    from lidistill import io
    from lidistill.converters.superpixels import (
        SlicParameters,
        make_superpixels,
        plan_superpixels,
    )

    console = Console()
    if args.dry_run:
        parameters = SlicParameters(args.segments, args.compactness, args.sigma, args.scale)
        jobs = args.jobs or io.available_cpus()
        plan = plan_superpixels(args.infos, args.data_root, args.out, parameters)
        console.print(f"{plan.images} images, {plan.done} of them done")
        console.print(
            f"to do: about {plan.hours(jobs):.2f} h with {jobs} processes "
            f"({plan.seconds_each:.2f} s an image), {plan.gigabytes():.3f} GB in {args.out}"
        )
        return 0
    count = make_superpixels(
        args.infos,
        args.data_root,
        args.out,
        args.segments,
        args.compactness,
        args.sigma,
        args.scale,
        args.jobs,
        args.engine,
    )
    console.print(f"{count} images done now; the store is complete: {args.out}")
    return 0
