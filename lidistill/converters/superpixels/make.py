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

from lidistill import io
from lidistill.converters.superpixels.slic import SlicParameters
from lidistill.converters.superpixels.source import RegionSource, SlicSource
from lidistill.converters.superpixels.store import (
    Job,
    StoreWriter,
    find_jobs,
    listed,
    missing_jobs,
)


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
        DataError: If the store was made with other parameters, or an image cannot be read.
        ValueError: If there is no such shard.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise ValueError(f"shard: expected i/n with 1 <= i <= n, got {part}/{parts}")
    files = listed(info_files)
    wanted = find_jobs(files, data_root, prefix)
    writer = StoreWriter(out_dir, source.recorded(), files)
    own = source.prepare(missing_jobs(wanted[part - 1 :: parts], Path(out_dir)))
    writer.begin(wanted)
    work = functools.partial(_write_one, store=Path(out_dir), source=source)
    for _ in io.parallel(work, own, jobs, engine, "Superpixels"):
        pass
    writer.finish(wanted)
    return len(own)


def _write_one(job: Job, store: Path, source: RegionSource) -> None:
    """Runs in a worker process."""
    io.write_label_map(store / job.name, source.labels(job))
