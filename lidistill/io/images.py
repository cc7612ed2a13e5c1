# SPDX-License-Identifier: Apache-2.0
"""Images and label maps: one gate that every file passes before a pixel is decoded."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lidistill.io.atomic import atomic_write
from lidistill.io.errors import FILE_AGAIN, DataError, PathLike, missing_file, read_bytes

NO_REGION = 65535
"""Label of a pixel that belongs to no region, in files and arrays of 16 bits."""

MAX_PIXELS = 100_000_000
"""Larger images are refused before memory is taken for them."""

_EIGHT_BITS = (
    "export 8 bits a channel, e.g. with ImageMagick: convert OLD -depth 8 NEW (values of 12 bits: "
    "convert OLD -level 0,4095 -depth 8 NEW)."
)
_PNG = b"\x89PNG\r\n\x1a\n"
_BITS_PER_SAMPLE = 258  # tag of TIFF


def read_image(
    path: PathLike, token: str | None = None, fix: str | None = None
) -> NDArray[np.uint8]:
    """Reads an image as (H, W, 3) uint8 RGB; an alpha channel is left out.

    Raises:
        DataError: The file is missing, cut, damaged, no image, too large, or has more than 8 bits a
            channel.
    """
    data = image_bytes(path, token, fix)
    return np.asarray(_decode(data, path, token, fix).convert("RGB"), dtype=np.uint8).copy()


def image_size(path: PathLike, token: str | None = None, fix: str | None = None) -> tuple[int, int]:
    """Returns (width, height) from an image's header.

    Raises:
        DataError: The file is missing, no image or too large.
    """
    source = Path(path)
    if not source.is_file():
        raise missing_file(source, token, fix)
    with _opened(source, path, token, fix) as image:
        return image.size


def read_label_map(
    path: PathLike, token: str | None = None, fix: str | None = None
) -> NDArray[np.int32]:
    """Reads a label map (superpixels, segmentation) stored as a PNG of 8 or 16 bits.

    Returns:
        Labels (H, W) int32.

    Raises:
        DataError: The file is missing, cut, damaged, or not a single-channel image.
    """
    data = image_bytes(path, token, fix, labels=True)
    labels = np.asarray(_decode(data, path, token, fix))
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise DataError(
            f"Expected a single-channel label map, got shape {labels.shape} {labels.dtype}.",
            path=path,
            token=token,
            fix=fix,
        )
    return labels.astype(np.int32)


def write_label_map(path: PathLike, labels: NDArray[np.integer]) -> None:
    """Writes labels (H, W) in 0..65535 as a 16-bit PNG, atomically.

    Raises:
        ValueError: The array is not 2-D integer or a label does not fit in 16 bits.
    """
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"labels: expected (H, W) integers, got shape {array.shape} {array.dtype}."
        )
    if array.size and (array.min() < 0 or array.max() > 65535):
        raise ValueError(
            f"labels: expected values in 0..65535 (16 bits), got {array.min()}..{array.max()}."
        )
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(array, dtype=np.uint16)).save(temporary, format="PNG")


def image_bytes(
    path: PathLike, token: str | None = None, fix: str | None = None, labels: bool = False
) -> bytes:
    """The bytes of an image file that may be decoded: any decoder gives the same pixels.

    Args:
        path: The file.
        token: Sample token for the error message.
        fix: What to do when the file is missing or damaged.
        labels: It is a label map: 16 bits are right, fewer than 8 are not (decoders scale them).

    Raises:
        DataError: The file is missing, no image, damaged as far as its format can tell (the check
            sums of PNG), too large, or has more bits.
    """
    data = read_bytes(path, token, fix)
    fault = png_fault(data) if data.startswith(_PNG) else None
    if fault is not None:
        raise DataError(
            f"Expected an image, but it does not decode: {fault}.",
            path=path,
            token=token,
            fix=fix or FILE_AGAIN,
        )
    with _opened(BytesIO(data), path, token, fix, "does not decode") as image:
        depth, bits = _depth(image, data), 16 if labels else 8
        if depth > bits:
            raise DataError(
                f"Expected an image of at most {bits} bits a channel, got {depth} bits (mode "
                f"{image.mode}): cut to {bits} bits it would be white or black.",
                path=path,
                token=token,
                fix=_EIGHT_BITS if not labels else "export integers of 8 or 16 bits.",
            )
        if labels and depth < 8 and image.mode != "P":
            raise DataError(
                f"Expected a label map of 8 or 16 bits, got {depth}.",
                path=path,
                token=token,
                fix="export 8 or 16 bits: decoders stretch the values of fewer.",
            )
    return data


def png_fault(data: bytes) -> str | None:
    """What is wrong with the chunks of a PNG, each of which has a check sum; or None.

    Decoders do not look at the sums of the pixels' chunks: a flipped bit gives other pixels.
    """
    place = len(_PNG)
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if end + 4 > len(data):
            break
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"chunk {kind!r} at byte {place} has another check sum: the file is damaged"
        place = end + 4
        if kind == b"IEND":
            return None
    return "it is cut"


def _opened(
    source: Path | BytesIO,
    path: PathLike,
    token: str | None,
    fix: str | None,
    verb: str = "does not open",
) -> Image.Image:
    """An image whose header is read; the pixels are not."""
    try:
        image = Image.open(source)
    except Image.DecompressionBombError:
        size: tuple[int, ...] = ()
    except (OSError, SyntaxError, ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"Expected an image, but it {verb}: {error}.",
            path=path,
            token=token,
            fix=fix or FILE_AGAIN,
        ) from error
    else:
        size = image.size
        if size[0] * size[1] <= MAX_PIXELS:
            return image
        image.close()
    raise DataError(
        f"Expected an image of at most {MAX_PIXELS:,} pixels, got "
        f"{' x '.join(map(str, size)) or 'far more'}.",
        path=path,
        token=token,
        fix="check where this file is from; make it smaller, and its calibration with it.",
    )


def _depth(image: Image.Image, data: bytes) -> int:
    """Bits a channel; floating point numbers count as 32."""
    if data.startswith(_PNG) and data[12:16] == b"IHDR":
        return data[24]
    tags = getattr(image, "tag_v2", None)
    if tags is not None and _BITS_PER_SAMPLE in tags:
        value = tags[_BITS_PER_SAMPLE]
        return int(max(value) if isinstance(value, tuple) else value)
    return 16 if image.mode.startswith("I;16") else 32 if image.mode in "IF" else 8


def _decode(data: bytes, path: PathLike, token: str | None, fix: str | None) -> Image.Image:
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
            return image.copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"Expected an image, but it does not decode: {error}.",
            path=path,
            token=token,
            fix=fix or FILE_AGAIN,
        ) from error
