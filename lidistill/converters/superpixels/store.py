# SPDX-License-Identifier: Apache-2.0
"""The store of region labels: a 16-bit PNG per camera image, and a manifest of how they were made.

SLIC superpixels, imported masks and clusters of a teacher's features are kept alike, so that a
method does not know where its regions come from. A pixel of value 65535 belongs to no region.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill import io
from lidistill.converters.info_paths import (
    InfoPaths,
    camera_names,
    frame_token,
    superpixels_name,
)
from lidistill.converters.infos import load_infos

TOOL = "lidistill superpixels"
SLIC_FLAGS = ("segments", "compactness", "sigma", "scale")


@dataclass(frozen=True)
class Job:
    """One image whose regions are wanted.

    Attributes:
        name: File in the store.
        image: The image; for imported masks the mask file.
        token: Of the sample, for error messages.
        size: (H, W) of the image as the info file says, or None where it does not.
    """

    name: str
    image: Path
    token: str
    size: tuple[int, int] | None = None


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
                size = (int(image["height"]), int(image["width"])) if "height" in image else None
                job = Job(name, locate(image["img_path"], camera), frame_token(info), size)
                other = jobs.setdefault(name, job)
                if other.image != job.image:
                    raise io.DataError(
                        f"Two images have the same superpixel file {name}: {other.image} and "
                        f"{job.image}.",
                        path=path,
                        token=job.token,
                        fix=io.INFOS_AGAIN,
                    )
    if not jobs:
        raise io.DataError(
            "No frame of these info files names a camera image: there is nothing to segment.",
            path=", ".join(map(str, info_files)),
            fix="superpixels are for data with cameras; if these have some, put their images "
            "in place and make the info file again (lidistill create_data --restart, or your own "
            "script).",
        )
    return list(jobs.values())


class SuperpixelStore:
    """Reader of a finished store.

    Args:
        folder: Made by ``lidistill superpixels`` or ``lidistill teacher_regions``.
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
                fix="run the command that began it once more; it continues where it stopped. Of a "
                "store made in shares, --dry-run --shard 1/N lists those that are missing.",
            )
        different = {
            key: self.parameters.get(key)
            for key, value in (expect or {}).items()
            if self.parameters.get(key) != value
        }
        if different:
            wanted = dict(expect or {})
            flags = " ".join(f"--{k} {v}" for k, v in wanted.items() if k in SLIC_FLAGS)
            raise io.DataError(
                f"Expected superpixels made with {wanted}, but this store was made "
                f"with {different}.",
                path=self.folder,
                fix=f"make another store: {TOOL} INFO_FILE --data-root DATA_ROOT --out NEW_FOLDER "
                f"{flags}".rstrip(),
            )

    def __len__(self) -> int:
        return self.count

    def path(self, image: Mapping[str, Any]) -> Path:
        """File of an image (its entry in an info file)."""
        return self.folder / superpixels_name(image, self.folder)


class StoreWriter:
    """Fills a store; what is in it already stays, so a killed run continues.

    Args:
        folder: The store; made when there is something to do.
        parameters: Everything that changes its content.
        info_files: What the images come from.
        tool: The command.
        files: What it should remember of some of the images, in JSON values; those noted before
            stay.

    Raises:
        DataError: If the store was made with other parameters, or is a folder of other pictures.
    """

    def __init__(
        self,
        folder: str | Path,
        parameters: Mapping[str, Any],
        info_files: Sequence[Path],
        tool: str = TOOL,
        files: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.parameters, self.tool = Path(folder), dict(parameters), tool
        self.files = dict(files or {})
        self.sources = [f"{path.name} sha256:{_hash(path)}" for path in info_files]
        if (self.folder / "manifest.json").is_file():
            fix = "delete this folder to make it again, or give another --out folder."
            old = io.read_manifest(self.folder, fix)
            if old["parameters"] != self.parameters:
                raise io.DataError(
                    f"This superpixel store was made with {old['parameters']}, now asked for "
                    f"{self.parameters}.",
                    path=self.folder,
                    fix="give another --out folder, the old parameters, or delete this folder.",
                )
            before = filter(None, old["source"].split("; "))
            self.sources = list(dict.fromkeys([*before, *self.sources]))
            self.files |= old.get("files", {})
        elif present(self.folder):
            raise io.DataError(
                "There are PNG files in this folder, but no manifest: it is no superpixel store.",
                path=self.folder,
                fix="give another --out folder.",
            )

    def begin(self, wanted: Sequence[Job]) -> list[Job]:
        """Those of the wanted images that are not in the store yet; it counts as unfinished."""
        missing = missing_jobs(wanted, self.folder)
        if missing:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._describe(0)
        return missing

    def finish(self, wanted: Sequence[Job]) -> bool:
        """Mark the store as finished, unless another machine is still at its share."""
        done = not missing_jobs(wanted, self.folder)
        self._describe(len(present(self.folder)) if done else 0)
        return done

    def _describe(self, count: int) -> None:
        """Write the manifest, unless it says so already: the disk may be read-only by now."""
        sources = "; ".join(self.sources)
        if (self.folder / "manifest.json").is_file():
            old = io.read_manifest(self.folder)
            if (old["count"], old["source"], old["parameters"]) == (
                count,
                sources,
                self.parameters,
            ):
                return
        more = {"files": self.files} if self.files else {}
        io.write_manifest(self.folder, self.tool, self.parameters, count, sources, more)


def present(store: Path) -> set[str]:
    """Names of the finished files of a store; those being written start with a dot."""
    if not store.is_dir():
        return set()
    return {e.name for e in os.scandir(store) if e.name.endswith(".png") and e.name[0] != "."}


def missing_jobs(wanted: Sequence[Job], store: Path) -> list[Job]:
    """The jobs whose file is not in the store."""
    there = present(store)
    return [job for job in wanted if job.name not in there]


def listed(info_files: str | Path | Sequence[str | Path]) -> list[Path]:
    """One or several files as a list."""
    one = isinstance(info_files, str | os.PathLike)
    return [Path(info_files)] if one else [Path(path) for path in info_files]  # type: ignore[arg-type,union-attr]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
