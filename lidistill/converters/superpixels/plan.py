# SPDX-License-Identifier: Apache-2.0
"""How much work a store of regions still is: images, time, disk, and whose share is missing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lidistill.converters.superpixels.slic import SlicParameters
from lidistill.converters.superpixels.source import RegionSource, SlicSource
from lidistill.converters.superpixels.store import Job, find_jobs, listed, missing_jobs

MEASURED = 3
"""Images that a plan measures; evenly spaced among those still to do."""


@dataclass(frozen=True)
class Share:
    """Every n-th image, beginning with the i-th: the work of one of n machines.

    Attributes:
        part: i, from 1.
        parts: n.
        images: Images in it.
        missing: Those not in the store.
    """

    part: int
    parts: int
    images: int
    missing: int

    def __str__(self) -> str:
        return f"{self.part}/{self.parts} ({self.missing:,} of {self.images:,} images)"


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        images: Images named by the info files.
        done: How many of them are in the store.
        seconds_each: Mean of a few images, one process.
        bytes_each: Mean size of their files.
        measured: How many were measured.
        shares: One for each machine.
        free_bytes: Free on the disk of the store.
    """

    images: int
    done: int
    seconds_each: float
    bytes_each: float
    measured: int = 0
    shares: tuple[Share, ...] = ()
    free_bytes: int = 0

    def hours(self, jobs: int, images: int | None = None) -> float:
        """Wall-clock hours for the rest, or so many images, with so many processes."""
        images = self.images - self.done if images is None else images
        return images * self.seconds_each / max(1, jobs) / 3600

    def gigabytes(self) -> float:
        """Disk space for the rest."""
        return (self.images - self.done) * self.bytes_each / 1e9

    def unfinished(self) -> list[Share]:
        """Shares with images that are not in the store."""
        return [share for share in self.shares if share.missing]


def shares_of(wanted: Sequence[Job], store: Path, parts: int) -> tuple[Share, ...]:
    """What each of so many machines has to do and has not done.

    Args:
        wanted: All images, in the order of the info files.
        store: Folder that the machines fill.
        parts: Number of machines.
    """
    left = {job.name for job in missing_jobs(wanted, store)}
    shares = []
    for part in range(1, parts + 1):
        own = wanted[part - 1 :: parts]
        shares.append(Share(part, parts, len(own), sum(job.name in left for job in own)))
    return tuple(shares)


def plan_regions(
    source: RegionSource,
    info_files: str | Path | Sequence[str | Path],
    data_root: str | Path,
    out_dir: str | Path,
    prefix: Mapping[str, str] | None = None,
    parts: int = 1,
) -> Plan:
    """Count the work of `make_regions` and measure it on a few images, writing nothing.

    Args:
        source: Where the regions come from.
        info_files: See `make_regions`, as the next three.
        data_root: See there.
        out_dir: See there.
        prefix: See there.
        parts: Machines that share the work.
    """
    store = Path(out_dir)
    wanted = find_jobs(listed(info_files), data_root, prefix)
    missing = missing_jobs(wanted, store)
    ready = source.prepare(missing)
    chosen = ready[:: max(1, len(ready) // MEASURED)][:MEASURED]
    seconds, size = [], []
    for job in chosen[:1] + chosen:  # the first call loads libraries: once more, then it counts
        begin = time.perf_counter()
        labels = source.labels(job)
        seconds.append(time.perf_counter() - begin)
        size.append(_png_bytes(labels))
    return Plan(
        images=len(wanted),
        done=len(wanted) - len(missing),
        seconds_each=float(np.mean(seconds[1:])) if chosen else 0.0,
        bytes_each=float(np.mean(size[1:])) if chosen else 0.0,
        measured=len(chosen),
        shares=shares_of(wanted, store, parts),
        free_bytes=_free_bytes(store),
    )


def plan_superpixels(
    info_files: str | Path | Sequence[str | Path],
    data_root: str | Path,
    out_dir: str | Path,
    parameters: SlicParameters,
    prefix: Mapping[str, str] | None = None,
) -> Plan:
    """Count the work of `make_superpixels` and measure it on a few images, writing nothing."""
    return plan_regions(SlicSource(parameters), info_files, data_root, out_dir, prefix)


def _png_bytes(labels: np.ndarray) -> int:
    import cv2

    return len(cv2.imencode(".png", labels.astype(np.uint16))[1])


def _free_bytes(folder: Path) -> int:
    """Free space where a folder is, or will be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
