# SPDX-License-Identifier: Apache-2.0
"""``lidistill teacher_regions``: regions from clusters of the image teacher's own features."""

from __future__ import annotations

import argparse
import time
from typing import Any

HELP = "cluster a frozen image teacher's features into regions; a store like lidistill superpixels"
TOOL = "lidistill teacher_regions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    from lidistill.engine.offline import whole_images

    whole_images.add_arguments(parser)
    parser.add_argument("--out", required=True, help="folder of the store")
    parser.add_argument("--clusters", type=int, default=32, help="regions of an image (or sample)")
    parser.add_argument(
        "--scope",
        choices=("image", "sample"),
        default="image",
        help="sample: the cameras of a sample are clustered together and share their regions",
    )
    parser.add_argument(
        "--position", type=float, default=0.0, help="weight of the place in the image: compactness"
    )
    parser.add_argument("--iterations", type=int, default=20, help="of k-means, at most")


def run(args: argparse.Namespace) -> int:
    """Fill a store, or with ``--dry-run`` say how much there is to do."""
    from rich.console import Console

    from lidistill.converters.superpixels.cli import shard_of
    from lidistill.converters.superpixels.store import Job, StoreWriter, missing_jobs
    from lidistill.distill.caches.files import LOOKED_AT, check_files, glances
    from lidistill.distill.caches.images import parameters_of
    from lidistill.engine.offline.whole_images import open_config, read_frames

    part, parts = shard_of(args.shard)
    dataset, teacher = open_config(args)
    seen: Any = teacher.cache
    teacher.cache = None
    frames = [dataset.describe(row) for row in range(len(dataset))]
    wanted = [Job(n, dataset.info_files[0], frame.token) for frame in frames for n in frame.names]
    names = ("clusters", "scope", "position", "iterations")
    parameters = {
        "method": "clusters",
        **{name: getattr(args, name) for name in names},
        **parameters_of(teacher, seen.size, seen.inputs),
    }
    files = glances(dataset.some_files(LOOKED_AT), dataset.root)
    writer = StoreWriter(args.out, parameters, dataset.info_files, TOOL, files)
    check_files(args.out, dataset.root)
    lacking = {job.name for job in missing_jobs(wanted, writer.folder)}
    share = range(part - 1, len(frames), parts)
    rows = [row for row in share if lacking.intersection(frames[row].names)]
    console = Console()
    console.print(f"{len(share)} frames in this share, {len(share) - len(rows)} of them done")
    if args.dry_run:
        if rows:
            start = time.perf_counter()
            cluster_frame(teacher, dataset[rows[0]], args)
            seconds = (time.perf_counter() - start) * len(rows)
            console.print(f"to do: about {seconds / 3600:.2f} h")
        return 0
    writer.begin(wanted)
    for frame in read_frames(dataset, rows, args.workers, "Teacher regions"):
        write_frame(writer.folder, frame, cluster_frame(teacher, frame, args))
    done = writer.finish(wanted)
    console.print(f"the store {'is complete' if done else 'waits for other shares'}: {args.out}")
    return 0


def cluster_frame(teacher: Any, frame: Any, args: argparse.Namespace) -> Any:
    """(K, H, W) labels at the size the teacher saw."""
    import torch

    from lidistill.distill.caches.images import live_maps
    from lidistill.engine.offline.whole_images import device_of
    from lidistill.ops.segments.kmeans import cluster_maps

    images = frame.images.to(device_of(teacher))
    (maps,) = live_maps(teacher, images).values()
    size = (images.shape[2], images.shape[3])
    groups = [maps] if args.scope == "sample" else maps.split(1)
    return torch.cat(
        [cluster_maps(g, args.clusters, size, args.position, args.iterations) for g in groups]
    )


def write_frame(folder: Any, frame: Any, labels: Any) -> None:
    """Write the labels of one frame at the size of its files."""
    from lidistill.geometry.correspondence import resize_labels
    from lidistill.io import write_label_map

    for name, size, one in zip(frame.names, frame.file_sizes, labels.cpu().numpy(), strict=True):
        write_label_map(folder / name, resize_labels(one, (0, 0, *one.shape), size))
