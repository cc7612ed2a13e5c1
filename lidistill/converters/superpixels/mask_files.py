# SPDX-License-Identifier: Apache-2.0
"""One file of regions to a label map; sizes are compared before memory is taken for them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.superpixels.rle import decode_counts, decode_string
from lidistill.io.images import MAX_PIXELS

FIX = "docs/regions.md names the forms that are read; export this file again in one of them."
MAX_ARRAY_BYTES = 4 << 30
MAX_LABEL = 2**62


def read_regions(
    path: Path,
    token: str | None = None,
    size: tuple[int, int] | None = None,
    resize: bool = True,
) -> tuple[NDArray[np.integer], bool]:
    """Regions of one file.

    Args:
        path: The file.
        token: Of the sample, for error messages.
        size: (H, W) of the image; None takes the file's (an empty list does not tell any).
        resize: Accept another size than the image's; without, it is refused before memory is taken.

    Returns:
        (H, W) labels, -1 = no region; and whether they are the file's own numbers (a label map) or
        made here (masks, from the largest to the smallest).

    Raises:
        DataError: The file cannot be read, or is none of the known forms.
    """
    wanted = None if resize else size
    if path.suffix == ".png":
        width, height = io.image_size(path, token, FIX)
        _check_size((height, width), wanted, path, token)
        return io.read_label_map(path, token, FIX), True
    if path.suffix == ".json":
        return _from_rle(path, token, size, wanted), False
    return _from_array(path, token, wanted)


def _check_size(
    size: tuple[int, ...], wanted: tuple[int, int] | None, path: Path, token: str | None
) -> None:
    """Before memory is taken for them."""
    if wanted is not None and size != tuple(wanted):
        raise io.DataError(
            f"Expected regions of {wanted[0]} x {wanted[1]} pixels like the image, got "
            f"{size[0]} x {size[1]}.",
            path=path,
            token=token,
            fix="export at the image's size, or pass --resize to take the nearest pixel.",
        )
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise io.DataError(
            f"Expected regions of 1 to {MAX_PIXELS:,} pixels, got {size[0]} x {size[1]}.",
            path=path,
            token=token,
            fix=FIX,
        )


def array_headers(path: Path) -> list[tuple[tuple[int, ...], int]]:
    """Shape and bytes of each array of an ``.npy`` or ``.npz`` file; their values are not read.

    Raises:
        ValueError: Objects, or a header that is none.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            return [_array_header(stream)]
    with zipfile.ZipFile(path) as archive:
        found = []
        for name in archive.namelist():
            with archive.open(name) as stream:
                found.append(_array_header(stream))
        return found


def _array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], int]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"numpy's format {version}")
    shape, _, dtype = readers[version](stream)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"an array of {shape} {dtype}")
    return shape, math.prod(shape) * dtype.itemsize


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


def _from_array(
    path: Path, token: str | None, wanted: tuple[int, int] | None
) -> tuple[NDArray[np.integer], bool]:
    try:
        for shape, size in array_headers(path):
            if len(shape) >= 2:
                _check_size(shape[-2:], wanted, path, token)
            if size > MAX_ARRAY_BYTES:
                raise ValueError(f"an array of {shape} takes {size:,} bytes")
        content = np.load(path, allow_pickle=False)
        arrays = [content] if isinstance(content, np.ndarray) else list(dict(content).values())
    except io.DataError:
        raise
    except Exception as error:  # a damaged archive raises nearly anything
        raise io.DataError(
            f"Expected numpy arrays, but they do not load: {error}.",
            path=path,
            token=token,
            fix=FIX,
        ) from error
    flat = [a for a in arrays if a.ndim == 2 and a.dtype.kind in "iub"]
    deep = [a for a in arrays if a.ndim == 3 and a.dtype.kind in "iub"]
    if len(flat) == 1 and not deep and flat[0].dtype == bool:  # one mask: what is outside is none
        return paint(flat[0][None]), False
    if len(flat) == 1 and not deep:
        if flat[0].max(initial=0) > MAX_LABEL:
            raise io.DataError(
                f"Expected labels up to {MAX_LABEL}, got {flat[0].max()}.",
                path=path,
                token=token,
                fix=FIX,
            )
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


def _from_rle(
    path: Path,
    token: str | None,
    size: tuple[int, int] | None,
    wanted: tuple[int, int] | None,
) -> NDArray[np.integer]:
    content = io.read_json(path, FIX, token)
    try:
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
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise io.DataError(
            "Expected a list of masks in COCO's run-length code ({'segmentation': {'size': [H, W], "
            f"'counts': ...}}}}), but it does not read as one: {error!r}.",
            path=path,
            token=token,
            fix="SAM's generator writes it with output_mode='coco_rle'; polygons are not read.",
        ) from error
    for size_of_mask in sizes:
        _check_size(size_of_mask, wanted, path, token)
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
