# SPDX-License-Identifier: Apache-2.0
"""Precision over recall: a row of panels a class, one a metric, a line a difficulty; SVG or PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lidistill.io import atomic_write

COLOURS = ("#2a7de1", "#e1702a", "#2aa36b", "#a14fd0")
INK, GRID = "#20242c", "#d9dce2"
_PANEL, _MARGIN, _TOP, _LEFT = (240, 170), 34, 44, 64
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SCALE = 2  # of the PNG


@dataclass(frozen=True)
class Line:
    """A polyline in pixels."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of text; ``anchor`` is ``start``, ``middle`` or ``end`` of it."""

    x: float
    y: float
    words: str
    anchor: str = "start"
    size: int = 11


def draw_precision(
    curves: Mapping[str, Mapping[str, NDArray]], lines: Sequence[str], title: str, path: Path
) -> Path:
    """Draw precision at 41 recalls into a file.

    Args:
        curves: class -> metric -> (L, 41) precision, 0..1; a row of NaN is not drawn, and a metric
            without any row has no panel.
        lines: L names of the rows, for the legend.
        title: above all.
        path: its suffix says the form: ``.svg`` or ``.png``.

    Returns:
        The path.

    Raises:
        ValueError: another suffix.
    """
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"expected a path that ends in .svg or .png, got {path.name}")
    size, parts = _drawing(curves, lines, title)
    with atomic_write(path) as temporary:
        if path.suffix == ".svg":
            temporary.write_text(_as_svg(size, parts), encoding="utf-8")
        else:
            _as_image(size, parts).save(temporary)
    return path


def _drawing(
    curves: Mapping[str, Mapping[str, NDArray]], lines: Sequence[str], title: str
) -> tuple[tuple[int, int], list[Line | Text]]:
    metrics = list(dict.fromkeys(m for table in curves.values() for m in table))
    width = _LEFT + max(len(metrics), 2) * (_PANEL[0] + _MARGIN)
    height = _TOP + max(len(curves), 1) * (_PANEL[1] + 2 * _MARGIN) + 8
    parts: list[Line | Text] = [Text(_LEFT, 20, title, size=13)]
    for number, words in enumerate(lines):
        x, colour = _LEFT + 110 * number, COLOURS[number % len(COLOURS)]
        parts += [Line(((x, 33), (x + 22, 33)), colour, 2.0), Text(x + 28, 37, words)]
    for row, (name, table) in enumerate(curves.items()):
        for column, metric in enumerate(metrics):
            if metric in table:
                left = _LEFT + column * (_PANEL[0] + _MARGIN)
                top = _TOP + _MARGIN + row * (_PANEL[1] + 2 * _MARGIN)
                parts += _panel(left, top, f"{name}, {metric}", table[metric])
    return (width, height), parts


def _panel(left: float, top: float, title: str, values: NDArray) -> list[Line | Text]:
    width, height = _PANEL
    parts: list[Line | Text] = [Text(left, top - 8, title, size=12)]
    for tick in _TICKS:
        x, y = left + tick * width, top + height - tick * height
        parts.append(Line(((x, top), (x, top + height)), GRID))
        parts.append(Line(((left, y), (left + width, y)), GRID))
        parts.append(Text(x, top + height + 14, f"{tick:g}", "middle", 10))
        parts.append(Text(left - 5, y + 3, f"{tick:g}", "end", 10))
    parts.append(Text(left + width, top + height + 26, "recall", "end", 10))
    for number, row in enumerate(values):
        points = [
            (left + k / (len(row) - 1) * width, top + height - float(value) * height)
            for k, value in enumerate(row)
            if math.isfinite(value)
        ]
        if points:
            parts.append(Line(tuple(points), COLOURS[number % len(COLOURS)], 2.0))
    return parts


def _as_svg(size: tuple[int, int], parts: Sequence[Line | Text]) -> str:
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
        f'width="{size[0]}" height="{size[1]}" font-family="sans-serif" fill="{INK}">',
        f'<rect width="{size[0]}" height="{size[1]}" fill="white"/>',
    ]
    for part in parts:
        if isinstance(part, Line):
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in part.points)
            rows.append(
                f'<path d="M{path}" fill="none" stroke="{part.colour}" '
                f'stroke-width="{part.width:g}"/>'
            )
        else:
            rows.append(
                f'<text x="{part.x:.1f}" y="{part.y:.1f}" font-size="{part.size}" '
                f'text-anchor="{part.anchor}">{escape(part.words)}</text>'
            )
    return "\n".join([*rows, "</svg>\n"])


def _as_image(size: tuple[int, int], parts: Sequence[Line | Text]) -> Image.Image:
    image = Image.new("RGB", (size[0] * _SCALE, size[1] * _SCALE), "white")
    draw = ImageDraw.Draw(image)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for part in parts:
        if isinstance(part, Line):
            points = [(x * _SCALE, y * _SCALE) for x, y in part.points]
            draw.line(points, fill=part.colour, width=round(part.width * _SCALE))
        else:
            font = ImageFont.load_default(part.size * _SCALE)
            place = (part.x * _SCALE, part.y * _SCALE)
            draw.text(place, part.words, fill=INK, font=font, anchor=anchors[part.anchor])
    return image
