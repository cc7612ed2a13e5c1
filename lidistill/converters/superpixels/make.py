# SPDX-License-Identifier: Apache-2.0
"""Regions of every camera image, made once and kept in a store of 16-bit PNG files.

They come from a *source* (`lidistill.converters.superpixels.source`): SLIC superpixels, or masks
that another tool wrote (`lidistill.converters.superpixels.masks.MaskSource`).

Source: SLidR (2203.16258) section 3.1: SLIC on the full image, 150 segments.
Differs from the authors' release: 16 bits (theirs wraps at 256 labels), a manifest, resumable, one
job an image.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lidistill import io
from lidistill.converters.superpixels.slic import SlicParameters
from lidistill.converters.superpixels.source import RegionSource, SlicSource
from lidistill.converters.superpixels.store import (
    Job,
    StoreWriter,
    find_jobs,
    listed,
    missing_jobs,
    present,
)

LOOKED_AT = 3  # images whose regions are made again and compared
STAMPED = 256  # images whose time is looked at
FIX = "delete this file and run the same command again: it fills the gap."


def make_superpixels(
    info_files: str | Path | Sequence[str | Path],
    data_root: str | Path,
    out_dir: str | Path,
    segments: int = 150,
    compactness: float = 6.0,
    sigma: float = 3.0,
    scale: float = 1.0,
    jobs: int | None = 1,
    engine: str = "loky",
    prefix: Mapping[str, str] | None = None,
) -> int:
    """Fill a store with SLIC superpixels; see `make_regions` and `SlicParameters`."""
    source = SlicSource(SlicParameters(segments, compactness, sigma, scale))
    return make_regions(source, info_files, data_root, out_dir, jobs, engine, prefix)


def make_regions(
    source: RegionSource,
    info_files: str | Path | Sequence[str | Path],
    data_root: str | Path,
    out_dir: str | Path,
    jobs: int | None = 1,
    engine: str = "loky",
    prefix: Mapping[str, str] | None = None,
    shard: tuple[int, int] = (1, 1),
) -> int:
    """Fill a store with the regions of all images that info files name.

    Images whose file is in the store are skipped, so a killed run continues, and the train and val
    infos may share a store.

    Args:
        source: Where the regions come from.
        info_files: One or several files of ``lidistill create_data``.
        data_root: Folder of the dataset.
        out_dir: The store; made when missing.
        jobs: Processes; None takes all cores.
        engine: ``loky``, ``ray`` or ``dask``.
        prefix: See `InfoPaths`.
        shard: (i, n) does every n-th image, beginning with the i-th; for n machines without a
            cluster that share the folder. The last to end marks the store as finished.

    Returns:
        Number of images done in this run.

    Raises:
        DataError: If the store was made with other parameters, of images or masks that were written
            anew since, or an image cannot be read.
        ValueError: If there is no such shard.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise ValueError(f"shard: expected i/n with 1 <= i <= n, got {part}/{parts}")
    files = listed(info_files)
    wanted = find_jobs(files, data_root, prefix)
    writer = StoreWriter(out_dir, source.recorded(), files)
    check_made(source, wanted, Path(out_dir))
    own = missing_jobs(wanted[part - 1 :: parts], Path(out_dir))
    names = {job.name for job in own}
    own = source.prepare(own, [job for job in wanted if job.name not in names])
    writer.begin(wanted)
    work = functools.partial(_write_one, store=Path(out_dir), source=source)
    for _ in io.parallel(work, own, jobs, engine, "Superpixels"):
        pass
    writer.finish(wanted)
    return len(own)


def check_made(source: RegionSource, wanted: Sequence[Job], store: Path) -> None:
    """Look at a few of the images that are done: a store of others must not be gone on with.

    Masks of another folder of the same name, or exported anew, are told by their labels. SLIC is
    slow and may differ in a pixel from machine to machine: of it, only images that are younger than
    their regions are looked at.

    Raises:
        DataError: the regions of one are others now.
    """
    there = present(store)
    done = [job for job in wanted if job.name in there]
    if not source.exact:
        some = io.evenly([job for job in done if job.image.is_file()], STAMPED)
        done = [job for job in some if _time(job.image) > _time(store / job.name)]
    for job in io.evenly(done, LOOKED_AT):
        try:
            labels = source.labels(source.prepare([job])[0])
        except io.DataError:  # of this one nothing is here by now
            continue
        path = store / job.name
        if not np.array_equal(labels, io.read_label_map(path, job.token, FIX)):
            raise io.DataError(
                "The regions in this store are not those that this image, or its masks, have now: "
                "they were written anew since, or are others of the same name.",
                path=path,
                token=job.token,
                fix="delete the store's folder to make it again, or give another --out folder.",
            )


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _write_one(job: Job, store: Path, source: RegionSource) -> None:
    """Runs in a worker process."""
    io.write_label_map(store / job.name, source.labels(job))
