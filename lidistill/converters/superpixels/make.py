# SPDX-License-Identifier: Apache-2.0
"""Regions of every camera image, made once and kept in a store of 16-bit PNG files.

They come from a *source*: SLIC superpixels (`SlicSource`), or masks that another tool wrote
(`lidistill.converters.superpixels.masks.MaskSource`).

Source: SLidR (2203.16258) section 3.1: SLIC on the full image, 150 segments.
Differs from the authors' release: 16 bits (theirs wraps at 256 labels), a manifest, resumable, one
job an image.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.superpixels.plan import Plan, plan_regions
from lidistill.converters.superpixels.slic import SlicParameters, slic_labels
from lidistill.converters.superpixels.store import (
    TOOL,
    Job,
    StoreWriter,
    SuperpixelStore,
    find_jobs,
    listed,
    missing_jobs,
)

__all__ = [
    "TOOL",
    "Plan",
    "RegionSource",
    "SlicParameters",
    "SlicSource",
    "SuperpixelStore",
    "find_jobs",
    "make_regions",
    "make_superpixels",
    "plan_regions",
    "plan_superpixels",
    "slic_labels",
]


class RegionSource(Protocol):
    """Where regions come from; must survive pickling, for worker processes."""

    def recorded(self) -> dict[str, Any]:
        """Everything that changes the labels, for the manifest."""

    def prepare(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs as `labels` wants them, in the same order."""

    def labels(self, job: Job) -> NDArray[np.integer]:
        """(H, W) labels in 0..65534; 65535 = no region."""


@dataclass(frozen=True)
class SlicSource:
    """SLIC superpixels of the images."""

    parameters: SlicParameters

    def recorded(self) -> dict[str, Any]:
        """Parameters and the version of scikit-image."""
        slic = asdict(self.parameters)
        return {"method": "slic", **slic, "scikit_image": version("scikit-image")}

    def prepare(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs as they are."""
        return list(jobs)

    def labels(self, job: Job) -> NDArray[np.integer]:
        """Superpixels of one image."""
        image = io.read_image(job.image, job.token)
        if job.size is not None and image.shape[:2] != job.size:
            raise io.DataError(
                f"Expected an image of {job.size[0]} x {job.size[1]} pixels as in the info file, "
                f"got {image.shape[0]} x {image.shape[1]}.",
                path=job.image,
                token=job.token,
                fix="restore the original image, or run lidistill create_data --restart: it takes "
                "the files' sizes.",
            )
        return slic_labels(image, self.parameters)


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


def plan_superpixels(
    info_files: str | Path | Sequence[str | Path],
    data_root: str | Path,
    out_dir: str | Path,
    parameters: SlicParameters,
    prefix: Mapping[str, str] | None = None,
) -> Plan:
    """Count the work of `make_superpixels` and measure it on a few images, writing nothing."""
    return plan_regions(SlicSource(parameters), info_files, data_root, out_dir, prefix)


def _write_one(job: Job, store: Path, source: RegionSource) -> None:
    """Runs in a worker process."""
    io.write_label_map(store / job.name, source.labels(job))
