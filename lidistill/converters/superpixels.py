# SPDX-License-Identifier: Apache-2.0
"""Superpixels of every camera image, computed once and kept in a store of 16-bit PNG files.

Source: SLidR (2203.16258) section 3.1: SLIC on the full image, 150 segments.
Differs from the authors' release: 16 bits (theirs wraps at 256 labels), a manifest, resumable, one
job an image.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lidistill import io
from lidistill.converters.info_paths import (
    InfoPaths,
    camera_names,
    frame_token,
    superpixels_name,
)
from lidistill.converters.infos import load_infos
from lidistill.converters.slic import SlicParameters, slic_labels

__all__ = [
    "Plan",
    "SlicParameters",
    "SuperpixelStore",
    "find_jobs",
    "make_superpixels",
    "plan_superpixels",
    "slic_labels",
]

TOOL = "lidistill superpixels"


@dataclass(frozen=True)
class Job:
    """One image to cut into superpixels."""

    name: str
    image: Path
    token: str


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        images: Images named by the info files.
        done: How many of them are in the store.
        seconds_each: Measured on one image, one process.
        bytes_each: Size of that image's file.
    """

    images: int
    done: int
    seconds_each: float
    bytes_each: int

    def hours(self, jobs: int) -> float:
        """Wall-clock hours for the rest with so many processes."""
        return (self.images - self.done) * self.seconds_each / max(1, jobs) / 3600

    def gigabytes(self) -> float:
        """Disk space for the rest."""
        return (self.images - self.done) * self.bytes_each / 1e9


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
    """Fill a store with the superpixels of all images that info files name.

    Images whose file is in the store are skipped, so a killed run continues, and the train and val
    infos may share a store.

    Args:
        info_files: One or several files of ``lidistill create_data``.
        data_root: Folder of the dataset.
        out_dir: The store; made when missing.
        segments: See `SlicParameters` for these four.
        compactness: See there.
        sigma: See there.
        scale: See there.
        jobs: Processes; None takes all cores.
        engine: ``loky``, ``ray`` or ``dask``.
        prefix: See `InfoPaths`.

    Returns:
        Number of images done in this run.

    Raises:
        DataError: If the store was made with other parameters, or an image cannot be read.
    """
    parameters = SlicParameters(segments, compactness, sigma, scale)
    files = _listed(info_files)
    wanted = find_jobs(files, data_root, prefix)
    store = Path(out_dir)
    sources = _sources(store, parameters, files)
    missing = _missing(wanted, store)
    if missing:
        store.mkdir(parents=True, exist_ok=True)
        _describe(store, parameters, 0, sources)  # count 0: begun, not finished
    work = functools.partial(_write_one, store=store, parameters=parameters)
    for _ in io.parallel(work, missing, jobs, engine, "Superpixels"):
        pass
    _describe(store, parameters, len(_present(store)), sources)
    return len(missing)


def plan_superpixels(
    info_files: str | Path | Sequence[str | Path],
    data_root: str | Path,
    out_dir: str | Path,
    parameters: SlicParameters,
    prefix: Mapping[str, str] | None = None,
) -> Plan:
    """Count the work and measure it on one image, without writing anything."""
    wanted = find_jobs(_listed(info_files), data_root, prefix)
    missing = _missing(wanted, Path(out_dir))
    done = len(wanted) - len(missing)
    if not missing:
        return Plan(len(wanted), done, 0.0, 0)
    import cv2

    image = io.read_image(missing[0].image, missing[0].token)
    slic_labels(image[:32, :32], parameters)  # the first call loads scikit-image
    start = time.perf_counter()
    labels = slic_labels(image, parameters)
    seconds = time.perf_counter() - start
    _, encoded = cv2.imencode(".png", labels.astype(np.uint16))
    return Plan(len(wanted), done, seconds, len(encoded))


def find_jobs(
    info_files: Iterable[Path], data_root: str | Path, prefix: Mapping[str, str] | None = None
) -> list[Job]:
    """Every image of some info files, once each, in the order of the files."""
    jobs: dict[str, Job] = {}
    for path in info_files:
        infos = load_infos(path, need=("images",))
        locate = InfoPaths(data_root, infos.metainfo, prefix)
        for info in infos.frames:
            for camera in camera_names(info):
                image = info["images"][camera]
                name = superpixels_name(image)
                jobs[name] = Job(name, locate(image["img_path"], camera), frame_token(info))
    return list(jobs.values())


class SuperpixelStore:
    """Reader of a finished store.

    Args:
        folder: Made by `make_superpixels`.
        expect: Parameters that it must have been made with, e.g. ``{"segments": 150}``; those not
            named may be anything.

    Raises:
        DataError: If it is no store, is unfinished, or was made with other parameters.
    """

    def __init__(self, folder: str | Path, expect: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(folder)
        fix = f"make it with: {TOOL} INFO_FILE --data-root DATA_ROOT --out {self.folder}"
        manifest = io.read_manifest(self.folder, fix) if self.folder.is_dir() else None
        if manifest is None:
            raise io.DataError("No superpixel store there.", path=self.folder, fix=fix)
        self.parameters: dict[str, Any] = manifest["parameters"]
        self.count = int(manifest["count"])
        if self.count == 0:
            raise io.DataError(
                "This superpixel store is unfinished.",
                path=self.folder,
                fix="run the command that began it once more; it continues where it stopped.",
            )
        different = {
            key: self.parameters.get(key)
            for key, value in (expect or {}).items()
            if self.parameters.get(key) != value
        }
        if different:
            raise io.DataError(
                f"Expected superpixels made with {dict(expect or {})}, but this store was made "
                f"with {different}.",
                path=self.folder,
                fix=f"make another store: {TOOL} INFO_FILE --data-root DATA_ROOT --out NEW_FOLDER "
                + " ".join(f"--{key} {value}" for key, value in (expect or {}).items()),
            )

    def __len__(self) -> int:
        return self.count

    def path(self, image: Mapping[str, Any]) -> Path:
        """File of an image (its entry in an info file)."""
        return self.folder / superpixels_name(image)


def _listed(info_files: str | Path | Sequence[str | Path]) -> list[Path]:
    one = isinstance(info_files, str | os.PathLike)
    return [Path(info_files)] if one else [Path(path) for path in info_files]  # type: ignore[arg-type,union-attr]


def _write_one(job: Job, store: Path, parameters: SlicParameters) -> None:
    """Runs in a worker process."""
    io.write_label_map(
        store / job.name, slic_labels(io.read_image(job.image, job.token), parameters)
    )


def _present(store: Path) -> set[str]:
    """Names of the finished files of a store; those being written start with a dot."""
    if not store.is_dir():
        return set()
    return {e.name for e in os.scandir(store) if e.name.endswith(".png") and e.name[0] != "."}


def _missing(wanted: Sequence[Job], store: Path) -> list[Job]:
    present = _present(store)
    return [job for job in wanted if job.name not in present]


def _sources(store: Path, parameters: SlicParameters, files: Sequence[Path]) -> list[str]:
    """What a store is made from, old and new; an error if its old part was made otherwise."""
    sources = [f"{path.name} sha256:{_hash(path)}" for path in files]
    if (store / "manifest.json").is_file():
        old = io.read_manifest(store)
        if old["parameters"] != _recorded(parameters):
            raise io.DataError(
                f"This superpixel store was made with {old['parameters']}, now asked for "
                f"{_recorded(parameters)}.",
                path=store,
                fix="give another --out folder, the old parameters, or delete this folder.",
            )
        return list(dict.fromkeys([*filter(None, old["source"].split("; ")), *sources]))
    if _present(store):
        raise io.DataError(
            "There are PNG files in this folder, but no manifest: it is no superpixel store.",
            path=store,
            fix="give another --out folder.",
        )
    return sources


def _describe(store: Path, parameters: SlicParameters, count: int, sources: Sequence[str]) -> None:
    io.write_manifest(store, TOOL, _recorded(parameters), count, "; ".join(sources))


def _recorded(parameters: SlicParameters) -> dict[str, Any]:
    return {"method": "slic", **asdict(parameters), "scikit_image": version("scikit-image")}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
