# SPDX-License-Identifier: Apache-2.0
"""``lidistill cache_teacher``: what a frozen teacher says of all images or scans, onto disk."""

from __future__ import annotations

import argparse
import time
from typing import Any

HELP = "run a config's frozen teacher once over all images or scans and keep what it says"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    from lidistill.engine.offline import whole_images

    whole_images.add_arguments(parser)
    parser.add_argument("--out", help="folder of the cache (default: the config's cache.folder)")
    parser.add_argument("--budget-gib", type=float, help="disk space to fill at most")


def run(args: argparse.Namespace) -> int:
    """Fill the gaps of a cache, or with ``--dry-run`` say how many there are."""
    from rich.console import Console

    from lidistill.converters.superpixels.cli import shard_of
    from lidistill.distill.caches.files import LOOKED_AT, check_files, glances
    from lidistill.engine.offline.cache_detections import cache_detections, replayed_teacher
    from lidistill.engine.offline.whole_images import open_config

    name = replayed_teacher(args)
    if name is not None:
        return cache_detections(args, name)
    part, parts = shard_of(args.shard)
    dataset, teacher = open_config(args)
    cache = teacher.cache
    if cache is None:
        raise ValueError("the teacher has no cache")
    check_files(cache.folder, dataset.root)
    if args.budget_gib is not None:
        cache.budget_gib = args.budget_gib
    console = Console()
    share = range(part - 1, len(dataset), parts)
    started = (cache.folder / "manifest.json").is_file()
    if args.dry_run and not started:
        missing = list(share)
    else:
        missing = _missing(dataset, cache.open(teacher), list(teacher.taps.taps), share)
    console.print(f"{len(share)} frames in this share, {len(share) - len(missing)} in the cache")
    if args.dry_run:
        if missing:
            seconds, size = _measure(dataset, teacher, missing[0])
            console.print(
                f"to do: about {len(missing) * seconds / 3600:.2f} h ({seconds:.2f} s a frame), "
                f"{len(missing) * size / 2**30:.3f} GiB in {cache.folder}"
            )
        return 0
    store = cache.open(teacher)
    written = _fill(dataset, teacher, missing, args.workers)
    sources = "; ".join(path.name for path in dataset.info_files)
    files = glances(dataset.some_files(LOOKED_AT), dataset.root)
    store.describe(store.count(next(iter(teacher.taps.taps))), sources, files)
    short = "" if written == len(missing) else "; stopped, for the budget is used up"
    console.print(f"{written} frames done now, {store.bytes() / 2**30:.3f} GiB in all{short}")
    return 0


def _missing(dataset: Any, store: Any, taps: list[str], rows: range) -> list[int]:
    """Frames that lack a map."""
    return [
        row
        for row in rows
        if not all(store.has(token, taps) for token in dataset.describe(row).image_tokens)
    ]


def _fill(dataset: Any, teacher: Any, rows: list[int], workers: int) -> int:
    """Frames of which every map was kept."""
    from lidistill.distill.caches.images import keep, live_maps
    from lidistill.engine.offline.whole_images import device_of, read_frames

    store, taps, done = teacher.cache.open(teacher), list(teacher.taps.taps), 0
    for frame in read_frames(dataset, rows, workers, "Teacher maps"):
        maps = live_maps(teacher, frame.images.to(device_of(teacher)))
        for place, token in enumerate(frame.image_tokens):
            keep(store, token, maps, place)
        if not all(store.has(token, taps) for token in frame.image_tokens):
            break
        done += 1
    return done


def _measure(dataset: Any, teacher: Any, row: int) -> tuple[float, int]:
    """Seconds and bytes of one frame."""
    from lidistill.distill.caches.images import live_maps
    from lidistill.engine.offline.whole_images import device_of

    frame = dataset[row]
    live_maps(teacher, frame.images[:1].to(device_of(teacher)))
    start = time.perf_counter()
    maps = live_maps(teacher, dataset[row].images.to(device_of(teacher)))
    size = sum(2 * value.numel() for value in maps.values())
    return time.perf_counter() - start, size
