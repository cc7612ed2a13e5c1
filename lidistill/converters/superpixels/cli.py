# SPDX-License-Identifier: Apache-2.0
"""``lidistill superpixels``: fill a store with the regions of every camera image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lidistill.converters.superpixels.plan import Plan, Share
    from lidistill.converters.superpixels.source import RegionSource

HELP = "compute superpixels of all camera images, or import masks, once, into a store"


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
    masks = parser.add_argument_group("regions of another tool in place of SLIC (docs/regions.md)")
    masks.add_argument(
        "--import-masks",
        metavar="DIR",
        help="folder of label maps (png, npz, npy) or masks (npz, npy, COCO RLE json: SAM, SEEM)",
    )
    masks.add_argument(
        "--renumber", action="store_true", help="number label maps from 0 in each image"
    )
    masks.add_argument(
        "--no-region",
        type=int,
        action="extend",
        nargs="*",
        default=[],
        help="values of label maps for 'nothing'",
    )
    masks.add_argument("--min-pixels", type=int, default=1, help="drop smaller regions")
    masks.add_argument(
        "--resize", action="store_true", help="accept files of another size than the image"
    )
    parser.add_argument("--jobs", type=int, default=None, help="processes; default: all cores")
    parser.add_argument("--engine", choices=("loky", "ray", "dask"), default="loky")
    parser.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="do the I-th of N shares, on this machine; with --dry-run: which shares are missing",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="count the work, estimate time and disk, and stop"
    )


def run(args: argparse.Namespace) -> int:
    """Does the work, or with ``--dry-run`` says how much there is."""
    from rich.console import Console

    from lidistill import io
    from lidistill.converters.superpixels.make import make_regions
    from lidistill.converters.superpixels.plan import plan_regions, shares_of
    from lidistill.converters.superpixels.store import find_jobs, listed

    console = Console()
    source = source_of(args)
    part, parts = shard_of(args.shard)
    if args.dry_run:
        plan = plan_regions(source, args.infos, args.data_root, args.out, parts=parts)
        _show_plan(plan, plan.shares[part - 1], args.jobs or io.available_cpus(), args.out)
        return 0
    count = make_regions(
        source,
        args.infos,
        args.data_root,
        args.out,
        args.jobs,
        args.engine,
        shard=(part, parts),
    )
    if io.read_manifest(args.out)["count"] == 0:
        wanted = find_jobs(listed(args.infos), args.data_root)
        console.print(f"{count} images done now; the store waits for the other shares: {args.out}")
        _show_unfinished([s for s in shares_of(wanted, Path(args.out), parts) if s.missing])
        return 0
    console.print(f"{count} images done now; the store is complete: {args.out}")
    return 0


def _show_plan(plan: Plan, own: Share, jobs: int, out: str) -> None:
    """What there is to do, here and everywhere, and whether it fits on the disk."""
    from rich.console import Console

    console = Console(soft_wrap=True)
    console.print(f"{plan.images:,} images, {plan.done:,} of them done")
    if not plan.measured:
        return
    console.print(
        f"{plan.seconds_each:.2f} s and {plan.bytes_each / 1e3:.0f} kB an image "
        f"(mean of {plan.measured}, one process)"
    )
    if own.parts > 1:
        hours = plan.hours(jobs, own.missing)
        console.print(f"share {own}: about {hours:.2f} h with {jobs} processes here")
    total = jobs * own.parts
    console.print(f"to do: about {plan.hours(total):.2f} h with {total} processes")
    free = plan.free_bytes / 1e9
    console.print(f"disk: {plan.gigabytes():.3f} GB more in {out}; {free:.1f} GB are free")
    if plan.gigabytes() > free:
        console.print("[bold red]That does not fit[/]: give an --out folder on another disk.")
    if own.parts > 1:
        _show_unfinished(plan.unfinished())


def _show_unfinished(shares: list[Share]) -> None:
    from rich.console import Console

    if shares:
        words = ", ".join(map(str, shares))
        Console(soft_wrap=True).print(f"missing: {words}; run the command with --shard for each")


SLIC = ("segments", "compactness", "sigma", "scale")
MASKS = ("renumber", "no_region", "min_pixels", "resize")


def source_of(args: argparse.Namespace) -> RegionSource:
    """SLIC, or the mask folder that was given.

    Raises:
        ValueError: An option of the other one.
    """
    from lidistill.converters.superpixels.masks import MaskSource
    from lidistill.converters.superpixels.slic import SlicParameters
    from lidistill.converters.superpixels.source import SlicSource

    _refuse_idle(args, MASKS if args.import_masks is None else SLIC)
    if args.import_masks is None:
        return SlicSource(SlicParameters(args.segments, args.compactness, args.sigma, args.scale))
    return MaskSource(
        Path(args.import_masks), args.renumber, tuple(args.no_region), args.min_pixels, args.resize
    )


def _refuse_idle(args: argparse.Namespace, names: tuple[str, ...]) -> None:
    """Options that would do nothing."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    idle = [name for name in names if getattr(args, name) != parser.get_default(name)]
    if idle:
        flags = ", ".join("--" + name.replace("_", "-") for name in idle)
        of = "masks alone: pass --import-masks DIR" if names is MASKS else "SLIC, not of masks"
        raise ValueError(f"{flags}: an option of {of}, or leave it out")


def shard_of(text: str) -> tuple[int, int]:
    """``"2/8"`` as (2, 8).

    Raises:
        ValueError: It is not of that form.
    """
    try:
        part, parts = (int(word) for word in text.split("/"))
    except ValueError:
        part, parts = 0, 0
    if not 1 <= part <= parts:
        raise ValueError(f"--shard: expected I/N with 1 <= I <= N, like 2/8, got {text!r}")
    return part, parts
