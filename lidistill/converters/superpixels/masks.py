# SPDX-License-Identifier: Apache-2.0
"""Regions that other tools made (SAM, SEEM, OpenSeeD, any segmentor), read into label maps.

Three kinds of file: a label map as PNG of 8 or 16 bits; an ``.npz`` or ``.npy`` array of labels
(H, W) or of masks (M, H, W); a ``.json`` list of masks in COCO's run-length code, as SAM's mask
generator writes. Masks may overlap: they are painted from the largest to the smallest.

Differs from the authors' release (Seal's SAM script): pixels under no mask belong to no region;
there they share label 0 with the largest mask. Labels have 16 bits; there they wrap at 256.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.superpixels.rle import decode_counts, decode_string
from lidistill.converters.superpixels.store import Job
from lidistill.geometry.correspondence import resize_labels
from lidistill.io import NO_REGION

SUFFIXES = (".png", ".npz", ".npy", ".json")
FIX = "docs/regions.md names the forms that are read; export this file again in one of them."
Masks = list[NDArray[np.int64]] | NDArray[np.bool_]


@dataclass(frozen=True)
class MaskSource:
    """Mask files of a folder as a source of regions.

    A file belongs to an image when its name without suffix is that of the image (alone, below
    folders of the same names, anywhere if the name is unique) or the image's token.

    Attributes:
        folder: Where the files are.
        renumber: Number the regions of each image from 0. Masks always are; label maps keep their
            values, which may mean classes, unless this is set.
        no_region: Values of label maps that stand for "nothing".
        min_pixels: Smaller regions are dropped, after painting.
        resize: Accept files of another size than the image, enlarged to the nearest pixel.
    """

    folder: Path
    renumber: bool = False
    no_region: tuple[int, ...] = ()
    min_pixels: int = 1
    resize: bool = False

    def recorded(self) -> dict[str, Any]:
        """All settings; of the folder its name, for it may lie elsewhere on another machine."""
        settings = asdict(self) | {"folder": self.folder.name, "no_region": list(self.no_region)}
        return {"method": "masks", **settings}

    def prepare(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs with the mask file in place of the image.

        Raises:
            DataError: Images without a mask file.
        """
        index = _index(self.folder)
        found = [(job, _match(job, index)) for job in jobs]
        lacking = [job for job, path in found if path is None]
        if lacking:
            raise io.DataError(
                f"{len(lacking)} of {len(jobs)} images have no mask file there, the first is "
                f"{lacking[0].image.name}: expected {lacking[0].image.stem}"
                f"{{{','.join(SUFFIXES)}}} or {Path(lacking[0].name).stem}{{...}}.",
                path=self.folder,
                token=lacking[0].token,
                fix="export masks for every image that the info files name, or make info files of "
                "the images that have them.",
            )
        return [
            replace(job, image=path, size=job.size or io.image_size(job.image, job.token)[::-1])
            for job, path in found
            if path is not None
        ]

    def labels(self, job: Job) -> NDArray[np.uint16]:
        """Region of each pixel.

        Raises:
            DataError: The file cannot be read, has another size, or too large labels.
        """
        height, width = job.size or (0, 0)
        labels, own_numbers = read_regions(job.image, job.token, job.size)
        if labels.shape != (height, width):
            if not self.resize:
                raise io.DataError(
                    f"Expected regions of {height} x {width} pixels like the image, got "
                    f"{labels.shape[0]} x {labels.shape[1]}.",
                    path=job.image,
                    token=job.token,
                    fix="export at the image's size, or pass --resize to take the nearest pixel.",
                )
            labels = resize_labels(labels, (0, 0, *labels.shape), (height, width))
        labels = np.where(np.isin(labels, self.no_region) | (labels < 0), -1, labels)
        labels = tidy(labels, self.min_pixels, self.renumber or not own_numbers)
        if labels.max(initial=0) >= NO_REGION:
            raise io.DataError(
                f"Expected labels below {NO_REGION} (16 bits), got {labels.max()}.",
                path=job.image,
                token=job.token,
                fix="pass --renumber: regions are then numbered from 0 in each image.",
            )
        return np.where(labels < 0, NO_REGION, labels).astype(np.uint16)


def read_regions(
    path: Path, token: str | None = None, size: tuple[int, int] | None = None
) -> tuple[NDArray[np.integer], bool]:
    """Regions of one file.

    Args:
        path: The file.
        token: Of the sample, for error messages.
        size: (H, W) of an image in which nothing was found (an empty list does not tell).

    Returns:
        (H, W) labels, -1 = no region; and whether they are the file's own numbers (a label map) or
        made here (masks, from the largest to the smallest).

    Raises:
        DataError: The file cannot be read, or is none of the known forms.
    """
    if path.suffix == ".png":
        return io.read_label_map(path, token, FIX), True
    if path.suffix == ".json":
        return _from_rle(path, token, size), False
    return _from_array(path, token)


def paint(masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Labels (H, W) of overlapping masks (M, H, W): the smallest on top, -1 where there is none."""
    labels = np.full(masks.shape[1:], -1, dtype=np.int32)
    areas = masks.sum(axis=(1, 2))
    for label, index in enumerate(np.argsort(-areas, kind="stable")):
        labels[masks[index]] = label
    return labels


def paint_runs(masks: Sequence[NDArray[np.int64]], size: tuple[int, int]) -> NDArray[np.int32]:
    """As `paint`, from run lengths in column order (off, on, off, ...), without dense masks."""
    columns = np.full(size[0] * size[1], -1, dtype=np.int32)
    areas = np.array([runs[1::2].sum() for runs in masks])
    for label, index in enumerate(np.argsort(-areas, kind="stable")):
        ends = np.cumsum(masks[index])
        for start, end in zip(ends[0::2], ends[1::2], strict=False):
            columns[start:end] = label
    return columns.reshape(size[1], size[0]).T


def tidy(labels: NDArray[np.integer], min_pixels: int, renumber: bool) -> NDArray[np.integer]:
    """Drop small regions (to -1); number the others from 0 in their order if asked for."""
    values, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    keep = (values >= 0) & (counts >= min_pixels)
    new = np.cumsum(keep) - 1 if renumber else values
    return np.where(keep, new, -1)[index].reshape(labels.shape)


def _from_array(path: Path, token: str | None) -> tuple[NDArray[np.integer], bool]:
    try:
        content = np.load(path, allow_pickle=False)
        arrays = [content] if isinstance(content, np.ndarray) else list(dict(content).values())
    except Exception as error:  # a damaged archive raises nearly anything
        raise io.DataError(
            f"Expected numpy arrays, but they do not load: {error}.",
            path=path,
            token=token,
            fix=FIX,
        ) from error
    flat = [a for a in arrays if a.ndim == 2 and a.dtype.kind in "iub"]
    deep = [a for a in arrays if a.ndim == 3 and a.dtype.kind in "iub"]
    if len(flat) == 1 and not deep:
        return flat[0].astype(np.int64), True
    if len(deep) == 1 and not flat:
        return paint(deep[0].astype(bool)), False
    shapes = ", ".join(f"{a.shape} {a.dtype}" for a in arrays) or "nothing"
    raise io.DataError(
        f"Expected one integer array of labels (H, W) or masks (M, H, W), got {shapes}.",
        path=path,
        token=token,
        fix=FIX,
    )


def _from_rle(path: Path, token: str | None, size: tuple[int, int] | None) -> NDArray[np.integer]:
    try:
        content = json.loads(io.read_bytes(path, token, FIX))
        if isinstance(content, Mapping):
            content = content.get("annotations", content.get("masks"))
        codes = [record.get("segmentation", record) for record in content]
        runs = [
            decode_string(code["counts"])
            if isinstance(code["counts"], str)
            else decode_counts(code["counts"])
            for code in codes
        ]
        sizes = {(int(code["size"][0]), int(code["size"][1])) for code in codes}
    except io.DataError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise io.DataError(
            "Expected a list of masks in COCO's run-length code ({'segmentation': {'size': [H, W], "
            f"'counts': ...}}}}), but it does not read as one: {error!r}.",
            path=path,
            token=token,
            fix="SAM's generator writes it with output_mode='coco_rle'; polygons are not read.",
        ) from error
    if not runs and size is not None:
        return paint_runs([], size)
    whole = len(sizes) == 1 and all(run.sum() == np.prod(next(iter(sizes))) for run in runs)
    if not whole:
        raise io.DataError(
            f"Expected masks of one size that cover it with their runs, got {len(runs)} masks of "
            f"sizes {sorted(sizes)}.",
            path=path,
            token=token,
            fix=FIX,
        )
    return paint_runs(runs, sizes.pop())


def _index(folder: Path) -> dict[str, Path | None]:
    """Files by their path without suffix and by their bare name; None marks an ambiguous name."""
    if not folder.is_dir():
        raise io.DataError("No folder of masks there.", path=folder, fix="correct --import-masks.")
    found: dict[str, Path | None] = {}
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            if path.suffix in SUFFIXES and name[0] != ".":
                key = path.relative_to(folder).with_suffix("").as_posix()
                found[key] = path
                if path.stem != key:
                    found[path.stem] = None if path.stem in found else path
    return found


def _match(job: Job, index: Mapping[str, Path | None]) -> Path | None:
    parts = job.image.with_suffix("").parts
    keys = [Path(job.name).stem, *("/".join(parts[-depth:]) for depth in (3, 2, 1))]
    return next((path for key in keys if (path := index.get(key)) is not None), None)
