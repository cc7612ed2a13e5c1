# SPDX-License-Identifier: Apache-2.0
"""Writing thousands of frames: each file appears whole, encoded the same way everywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.io import atomic_write


def write_frame(path: Path, data: bytes) -> None:
    """Write one sensor file, whole or not at all, without waiting for the disk.

    A frame counts as finished only when its scene's record (written with a sync) exists.
    """
    with atomic_write(path, sync=False) as temporary:
        temporary.write_bytes(data)


def encode_jpeg(image: NDArray[np.uint8], quality: int = 92) -> bytes:
    """JPEG bytes of an RGB image (H, W, 3)."""
    return _encode(".jpg", image, [1, quality])  # 1: cv2.IMWRITE_JPEG_QUALITY


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an RGB image (H, W, 3)."""
    return _encode(".png", image, [16, 1])  # 16: cv2.IMWRITE_PNG_COMPRESSION


def _encode(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    import cv2

    done, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), options)
    if not done:
        raise OSError(f"expected OpenCV to encode {suffix}, got an error; is it built with it?")
    return bytes(data.tobytes())


def token(*parts: object) -> str:
    """A 32-digit token that depends on its parts only."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
