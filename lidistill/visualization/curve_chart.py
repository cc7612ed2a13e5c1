# SPDX-License-Identifier: Apache-2.0
"""Curves with a band of spread over a logarithmic axis, as SVG that stands in a docs page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lidistill.visualization.chart import Frame, nice_ticks, tick_texts

COLOURS = ("#2a7de1", "#e1702a", "#2aa36b", "#a14fd0", "#c9a227", "#d03f6b")
"""Readable on white and on a dark page."""
STYLE = (
    "svg.band-chart{max-width:640px;width:100%;font:12px sans-serif}"
    "svg.band-chart text{fill:currentColor}"
    "svg.band-chart .grid{stroke:currentColor;stroke-opacity:.15;fill:none}"
    "svg.band-chart .line{fill:none;stroke-width:2}"
    "svg.band-chart .band{fill-opacity:.15;stroke:none}"
    "svg.band-chart .end{text-anchor:end}svg.band-chart .mid{text-anchor:middle}"
)
_WIDTH, _HEIGHT, _ROW = 600, 300, 18


@dataclass(frozen=True)
class Band:
    """One curve.

    Attributes:
        name: in the legend.
        x: rising, above 0.
        y: one an x.
        spread: half the height of the band at each x; NaN where it is not known.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float]

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.spread):
            raise ValueError(
                f"curve {self.name!r}: {len(self.x)} x, {len(self.y)} y, {len(self.spread)} spreads"
            )
        if any(not value > 0 for value in self.x):
            raise ValueError(f"curve {self.name!r}: a logarithmic axis needs x > 0, got {self.x}")


def curve_chart(
    bands: Sequence[Band], x_label: str, y_label: str, lowest: float = -math.inf
) -> str:
    """Draw curves over common axes: x logarithmic, the spread as a band, a legend below.

    Args:
        bands: at least one with a point; curves without one are left out.
        x_label: of the axis, with its unit.
        y_label: likewise.
        lowest: value that y can have; bands end and axes begin there at the lowest.

    Returns:
        An ``<svg>`` element on one line, so that Markdown takes it as it is.
    """
    bands = [band for band in bands if band.x]
    if not bands:
        return "No process time was recorded, so there is no curve to draw."
    xs = [value for band in bands for value in band.x]
    ends = [v for b in bands for y, s in zip(b.y, b.spread, strict=True) for v in _ends(y, s)]
    ys = [max(value, lowest) for value in ends]
    ticks = log_ticks(min(xs), max(xs))
    frame = Frame(
        [math.log2(tick) for tick in ticks],
        [tick for tick in nice_ticks(min(ys), max(ys), 5) if tick >= lowest],
        _WIDTH,
        _HEIGHT,
    )
    label = f"{y_label} over {x_label}: {', '.join(band.name for band in bands)}"
    parts = [
        f'<svg class="band-chart" viewBox="0 0 {_WIDTH} {_HEIGHT + _ROW * len(bands)}" role="img" '
        f'aria-label="{escape(label, quote=True)}"><style>{STYLE}</style>',
        *frame.grid(x_label, tick_texts_of(ticks)),
    ]
    for number, band in enumerate(bands):
        parts += _drawn(
            band, COLOURS[number % len(COLOURS)], frame, _HEIGHT + _ROW * (number + 0.6), lowest
        )
    return "".join([*parts, "</svg>"])


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers whose neighbours differ by about two, that enclose a range; two at least."""
    steps = (1, 2, 5)
    first = math.floor(math.log10(low)) - 1
    last = math.ceil(math.log10(high)) + 1
    known = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    begin = max(i for i, tick in enumerate(known) if tick <= low * (1 + 1e-9))
    end = min(i for i, tick in enumerate(known) if tick >= high * (1 - 1e-9))
    return known[begin : max(end, begin + 1) + 1]


def tick_texts_of(ticks: Sequence[float]) -> list[str]:
    """Each tick by itself: on a logarithmic axis they share no step."""
    return [tick_texts([0.0, tick])[1] for tick in ticks]


def _ends(y: float, spread: float) -> tuple[float, float]:
    reach = 0.0 if math.isnan(spread) else spread
    return y - reach, y + reach


def _drawn(band: Band, colour: str, frame: Frame, row: float, lowest: float) -> list[str]:
    """Band, line, points and the row of the legend."""
    xs = [math.log2(value) for value in band.x]
    both = [_ends(y, spread) for y, spread in zip(band.y, band.spread, strict=True)]
    ends = [(max(low, lowest), high) for low, high in both]
    around = [(x, low) for x, (low, _) in zip(xs, ends, strict=True)]
    around += [(x, high) for x, (_, high) in reversed(list(zip(xs, ends, strict=True)))]
    outline = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in around)
    dots = "".join(
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.5" fill="{colour}"/>'
        for x, y in zip(xs, band.y, strict=True)
    )
    line = frame.line(xs, band.y, "").replace("<path ", f'<path stroke="{colour}" ')
    return [
        f'<path class="band" fill="{colour}" d="M{outline}Z"/>',
        line,
        dots,
        f'<circle cx="60" cy="{row - 4:.0f}" r="4" fill="{colour}"/>',
        f'<text x="72" y="{row:.0f}">{escape(band.name)}</text>',
    ]
