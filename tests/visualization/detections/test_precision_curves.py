# SPDX-License-Identifier: Apache-2.0
"""Precision curves as SVG and PNG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from lidistill.visualization.detections.precision_curves import COLOURS, draw_precision

LINES = ("easy", "moderate", "hard")


def curves():
    falling = np.linspace(1, 0.5, 41)
    rows = np.stack([falling, falling / 2, np.full(41, np.nan)])
    return {"Car & co": {"bbox": rows, "3d": rows}}


def test_svg_has_a_panel_a_metric_and_a_line_a_known_row(tmp_path):
    path = draw_precision(curves(), LINES, "title <1>", tmp_path / "a.svg")
    tree = ElementTree.parse(path).getroot()
    texts = [node.text for node in tree.iter() if node.tag.endswith("text")]
    assert {"title <1>", "Car & co, bbox", "Car & co, 3d", *LINES} <= set(texts)
    strokes = [node.get("stroke") for node in tree.iter() if node.tag.endswith("path")]
    assert [strokes.count(colour) for colour in COLOURS[:3]] == [3, 3, 1]  # legend and panels


def test_png_shows_the_lines(tmp_path):
    path = draw_precision(curves(), LINES, "title", tmp_path / "a.png")
    with Image.open(path) as image:
        colours = {colour for _, colour in image.getcolors(1 << 20)}
    wanted = tuple(int(COLOURS[0][k : k + 2], 16) for k in (1, 3, 5))
    assert wanted in colours


def test_no_class_and_other_suffixes(tmp_path):
    assert draw_precision({}, LINES, "nothing", tmp_path / "a.svg").is_file()
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        draw_precision({}, LINES, "nothing", tmp_path / "a.pdf")
