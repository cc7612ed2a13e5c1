# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from lidistill.world import files


def test_tokens_depend_on_every_part():
    assert len(files.token("a", 1)) == 32
    assert files.token("a", 1) == files.token("a", 1)
    assert (
        len({files.token("a", 1), files.token("a", 2), files.token("a1"), files.token(1, "a")}) == 4
    )


def test_frames_are_written_whole(tmp_path):
    path = tmp_path / "deep" / "er" / "a.bin"
    files.write_frame(path, b"123")
    assert path.read_bytes() == b"123"
    files.write_frame(path, b"4")
    assert path.read_bytes() == b"4"
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_png_keeps_rgb_and_jpeg_nearly():
    image = np.zeros((16, 24, 3), np.uint8)
    image[..., 0] = 200  # red
    for data, tolerance in ((files.encode_png(image), 0), (files.encode_jpeg(image), 6)):
        back = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB)
        assert np.abs(back.astype(int) - image).max() <= tolerance


def test_an_encoder_that_fails_is_an_error(monkeypatch):
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(OSError, match="OpenCV"):
        files.encode_png(np.zeros((2, 2, 3), np.uint8))
