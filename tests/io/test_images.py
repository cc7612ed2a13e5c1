# SPDX-License-Identifier: Apache-2.0
"""Images of more bits, damaged, or too large: refused by all readers before they decode."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lidistill.io import DataError, image_size, read_image, read_label_map, write_label_map
from lidistill.io.decode import decode_image, decode_labels

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def fast(path: Path) -> Any:
    return decode_image(path, "t1", "run z")


READERS: tuple[Callable[[Path], Any], ...] = (read_image, fast)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("grey16.png", IMAGE[..., 0].astype(np.uint16) * 257),
        ("camera12.png", IMAGE[..., 0].astype(np.uint16) * 16),
        ("rgb16.png", IMAGE.astype(np.uint16) * 257),
        ("rgb16.tif", IMAGE.astype(np.uint16) * 257),
        ("grey16.tif", IMAGE[..., 0].astype(np.uint16) * 257),
        ("float.tif", IMAGE[..., 0].astype(np.float32) / 255),
    ],
)
def test_more_than_eight_bits_are_refused(tmp_path: Path, name: str, values: np.ndarray) -> None:
    assert cv2.imwrite(str(tmp_path / name), values)
    for read in READERS:
        with pytest.raises(DataError, match=rf"(?s)at most 8 bits a channel.*{name}.*8 bits"):
            read(tmp_path / name)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGB"])
def test_every_mode_of_eight_bits_is_its_colours(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(IMAGE).convert(mode)
    suffix = "tif" if mode == "PA" else "png"
    image.save(tmp_path / f"a.{suffix}")
    for read in READERS:
        assert np.array_equal(read(tmp_path / f"a.{suffix}"), np.asarray(image.convert("RGB")))


def chunk(kind: bytes, content: bytes) -> bytes:
    sums = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + sums


@pytest.mark.parametrize("size", [(20_000, 20_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_named_before_memory_is_taken(tmp_path: Path, size: tuple[int, int]) -> None:
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    data = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    for read in (*READERS, read_label_map, image_size):
        with pytest.raises(DataError, match=r"(?s)at most 100,000,000 pixels.*bomb\.png"):
            read(path)


def test_every_flipped_bit_of_a_label_map_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    labels = np.arange(24 * 32).reshape(24, 32) // 40
    write_label_map(path, labels)
    data = path.read_bytes()
    for place in range(0, len(data) * 8, 5):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(bytes(damaged))
        for read in (read_label_map, lambda p: decode_labels(p, "t1", "run z")):
            with pytest.raises(DataError, match=r"labels\.png"):
                read(path)
    path.write_bytes(data)
    assert np.array_equal(read_label_map(path), labels)
    assert np.array_equal(decode_labels(path, "", ""), labels)


def test_label_maps_of_few_bits_and_of_palettes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IMAGE[..., 0] > 99).save(path)
    for read in (read_label_map, lambda p: decode_labels(p, "t1", "run z")):
        with pytest.raises(DataError, match="label map of 8 or 16 bits, got 1"):
            read(path)
    image = Image.fromarray(IMAGE).convert("P")
    image.save(path)
    for read in (read_label_map, lambda p: decode_labels(p, "t1", "run z")):
        assert np.array_equal(read(path), np.asarray(image))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_damage_is_an_error_or_an_image(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(["png", "jpg", "tif"]))
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    Image.fromarray(IMAGE).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(bytes(content))
    for read in (*READERS, read_label_map, image_size):
        with contextlib.suppress(DataError):
            read(path)


def test_a_folder_in_place_of_an_image(tmp_path: Path) -> None:
    for read in (*READERS, read_label_map, image_size):
        with pytest.raises(DataError, match="got a folder"):
            read(tmp_path)
