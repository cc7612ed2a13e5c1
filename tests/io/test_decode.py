# SPDX-License-Identifier: Apache-2.0
"""The fast decoder gives what the strict one gives, and leaves damaged files to it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lidistill import io
from lidistill.io.decode import decode_image, decode_labels
from tests.datasets.mini import image_of


@pytest.fixture
def image():
    return image_of(np.random.default_rng(0))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_image_equals_the_strict_reader(tmp_path, image, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), image[..., ::-1])
    fast, strict = decode_image(path, "t", "fix"), io.read_image(path, "t")
    assert np.abs(fast.astype(int) - strict).max() <= 1  # libjpeg builds may round otherwise
    if suffix == ".png":
        np.testing.assert_array_equal(fast, image)


def test_grey_image_becomes_rgb(tmp_path, image):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image[..., 0])
    np.testing.assert_array_equal(decode_image(path, "t", "fix"), np.repeat(image[..., :1], 3, 2))


@pytest.mark.parametrize("bits", [np.uint8, np.uint16])
def test_labels_of_8_and_16_bits(tmp_path, bits):
    labels = (np.arange(60 * 50).reshape(60, 50) % np.iinfo(bits).max).astype(bits)
    cv2.imwrite(str(tmp_path / "a.png"), labels)
    for _ in range(2):
        found = decode_labels(tmp_path / "a.png", "t", "fix")
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, labels)
        with (tmp_path / "a.png").open("ab") as stream:
            stream.write(b"more")  # then the strict reader reads it


@pytest.mark.parametrize("cut", [0, 10, 500, -1, -20])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_files_are_refused(tmp_path, image, suffix, cut):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), image[..., ::-1])
    path.write_bytes(path.read_bytes()[:cut])
    read = decode_image if suffix == ".jpg" else decode_labels
    with pytest.raises(io.DataError, match="token7"):
        read(path, "token7", "fix it so")


def test_colour_image_is_no_label_map(tmp_path, image):
    cv2.imwrite(str(tmp_path / "a.png"), image)
    with pytest.raises(io.DataError, match="single-channel"):
        decode_labels(tmp_path / "a.png", "t", "fix")


def test_jpeg_with_bytes_after_its_end_still_reads(tmp_path, image):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), image[..., ::-1])
    expected = decode_image(path, "t", "fix")
    path.write_bytes(path.read_bytes() + b"\0\0")
    assert np.abs(decode_image(path, "t", "fix").astype(int) - expected).max() <= 1
