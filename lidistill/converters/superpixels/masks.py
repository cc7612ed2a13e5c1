# SPDX-License-Identifier: Apache-2.0
"""Regions that other tools made (SAM, SEEM, OpenSeeD, any segmentor), read into label maps.

Three kinds of file: a label map as PNG of 8 or 16 bits; an ``.npz`` or ``.npy`` array of labels
(H, W) or of masks (M, H, W); a ``.json`` list of masks in COCO's run-length code, as SAM's mask
generator writes. Masks may overlap: they are painted from the largest to the smallest.

Differs from the authors' release (Seal's SAM script): pixels under no mask belong to no region;
there they share label 0 with the largest mask. Labels have 16 bits; there they wrap at 256.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.superpixels.mask_files import read_regions
from lidistill.converters.superpixels.store import Job
from lidistill.geometry.correspondence import resize_labels
from lidistill.io import NO_REGION

SUFFIXES = (".png", ".npz", ".npy", ".json")


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

    exact: ClassVar[bool] = True

    folder: Path
    renumber: bool = False
    no_region: tuple[int, ...] = ()
    min_pixels: int = 1
    resize: bool = False

    def recorded(self) -> dict[str, Any]:
        """All settings; of the folder its name, for it may lie elsewhere on another machine."""
        settings = asdict(self) | {"folder": self.folder.name, "no_region": list(self.no_region)}
        return {"method": "masks", **settings}

    def prepare(self, jobs: Sequence[Job], others: Sequence[Job] = ()) -> list[Job]:
        """The jobs with the mask file in place of the image.

        Args:
            jobs: to be done.
            others: done before or on another machine; their masks may be elsewhere.

        Raises:
            DataError: Images without a mask file, two files of one image, or two images of one.
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
        everything = [*found, *((job, _match(job, index)) for job in others)]
        _refuse_shared([(job, path) for job, path in everything if path is not None])
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
        labels, own_numbers = read_regions(job.image, job.token, job.size, self.resize)
        if labels.shape != (height, width):
            labels = resize_labels(labels, (0, 0, *labels.shape), (height, width))
        labels = np.where(np.isin(labels, self.no_region) | (labels < 0), -1, labels)
        renumber = self.renumber or not own_numbers
        labels = tidy(labels, self.min_pixels, renumber)
        if labels.max(initial=0) >= NO_REGION:
            many = f"{labels.max() + 1} regions in one image"
            raise io.DataError(
                f"Expected labels below {NO_REGION} (16 bits), got "
                f"{many if renumber else labels.max()}.",
                path=job.image,
                token=job.token,
                fix=_remedy(renumber, int(labels.max())),
            )
        return np.where(labels < 0, NO_REGION, labels).astype(np.uint16)


def _remedy(renumber: bool, highest: int) -> str:
    """For labels beyond 16 bits; 65535 alone is what many tools, and a store, call nothing."""
    if renumber:
        return "a store holds no more: drop the small ones with --min-pixels N, or export fewer."
    pass_it = "pass --renumber: regions are then numbered from 0 in each image."
    if highest > NO_REGION:
        return pass_it
    return f"where {NO_REGION} is no region, pass --no-region {NO_REGION}; else {pass_it}"


def tidy(labels: NDArray[np.integer], min_pixels: int, renumber: bool) -> NDArray[np.integer]:
    """Drop small regions (to -1); number the others from 0 in their order if asked for."""
    values, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    keep = (values >= 0) & (counts >= min_pixels)
    new = np.cumsum(keep) - 1 if renumber else values
    return np.where(keep, new, -1)[index].reshape(labels.shape)


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
                other = found.get(key)
                if other is not None and other.parent == path.parent:
                    raise io.DataError(
                        f"Two files are of one image: {' and '.join(sorted((other.name, name)))}.",
                        path=top,
                        fix="leave one of them there, e.g. move pictures of the masks away.",
                    )
                found[key] = path
                if path.stem != key:
                    found[path.stem] = None if path.stem in found else path
    return found


def _refuse_shared(found: Sequence[tuple[Job, Path]]) -> None:
    """Drives of KITTI all have a 000000: masks of one are not those of the others."""
    owners: dict[Path, Job] = {}
    for job, path in found:
        other = owners.setdefault(path, job)
        if other is not job:
            raise io.DataError(
                f"This file would be the masks of two images: {other.image} and {job.image}.",
                path=path,
                token=job.token,
                fix=f"name it by the image's token ({Path(job.name).stem}{path.suffix}), or put "
                "the files below the images' folders.",
            )


def _match(job: Job, index: Mapping[str, Path | None]) -> Path | None:
    parts = job.image.with_suffix("").parts
    keys = [Path(job.name).stem, *("/".join(parts[-depth:]) for depth in (3, 2, 1))]
    return next((path for key in keys if (path := index.get(key)) is not None), None)
