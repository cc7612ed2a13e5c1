# SPDX-License-Identifier: Apache-2.0
"""Curves over a logarithmic axis: ticks, bands, gaps that are errors."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidistill.visualization.curve_chart import Band, curve_chart, log_ticks, tick_texts_of


@given(low=st.floats(1e-3, 1e5), factor=st.floats(1.0, 1e4))
def test_ticks_enclose_the_range_in_round_steps(low, factor):
    high = low * factor
    ticks = log_ticks(low, high)
    assert ticks[0] <= low * (1 + 1e-6)
    assert ticks[-1] >= high * (1 - 1e-6)
    assert len(ticks) >= 2
    assert all(1.9 < b / a < 2.6 for a, b in itertools.pairwise(ticks))


def test_ticks_in_words():
    assert tick_texts_of([0.5, 1.0, 20.0, 5000.0]) == ["0.5", "1", "20", "5,000"]


def test_doublings_stand_at_equal_distances():
    svg = curve_chart([Band("a", [10, 20, 40], [0.1, 0.2, 0.3], [0.01] * 3)], "s", "AP")
    xs = [float(x) for x in re.findall(r'<circle cx="([\d.]+)" cy="[\d.]+" r="3.5"', svg)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    ys = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)" r="3.5"', svg)]
    assert ys == sorted(ys, reverse=True)


@pytest.mark.parametrize("values", [[0.01, 0.3], [0.0, 0.0]])
def test_neither_bands_nor_axis_go_below_the_lowest_value(values):
    """The spread of a score near 0 reaches below it, and the score never does."""
    band = Band("a", [10, 20], values, [0.05, 0.0])
    below, within = (curve_chart([band], "s", "AP", low) for low in (-math.inf, 0.0))
    assert 'class="end">-' in below
    assert 'class="end">-' not in within
    floor = float(re.findall(r'class="grid" d="M\d+ ([\d.]+)H', within)[0])
    outline = re.search(r'class="band" fill="[^"]+" d="M([^Z]+)Z', within)[1]
    heights = [float(point.split()[1]) for point in outline.split("L")]
    assert max(heights) == pytest.approx(floor if min(values) < 0.05 else max(heights), abs=0.11)


def test_the_drawing_is_one_line_of_xml_with_a_legend():
    bands = [
        Band("student & alone", [10, 20], [0.1, 0.2], [math.nan, 0.01]),
        Band("taught", [15], [0.3], [0.02]),
        Band("not run", [], [], []),
    ]
    svg = curve_chart(bands, "seconds (log)", "AP <b>")
    assert "\n" not in svg
    root = ElementTree.fromstring(svg)
    words = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert "student & alone" in words
    assert "taught" in words
    assert "not run" not in words
    assert svg.count('class="band"') == 2


def test_wrong_curves_are_refused_by_name():
    with pytest.raises(ValueError, match="curve 'a': 2 x, 1 y, 1 spreads"):
        Band("a", [1, 2], [1], [1])
    with pytest.raises(ValueError, match=r"curve 'a': a logarithmic axis needs x > 0"):
        Band("a", [0.0], [1], [1])
    assert "no curve to draw" in curve_chart([Band("a", [], [], [])], "s", "AP")
