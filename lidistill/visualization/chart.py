# SPDX-License-Identifier: Apache-2.0
"""Line charts as inline SVG whose colours follow the page's theme (no picture, no script)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lidistill.visualization.curves import Curve, smooth

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 22, 12, 40
SERIES = 6
"""Line colours of the style sheet (classes ``s0`` .. ``s5``)."""


def line_chart(curves: Sequence[Curve], width: int = 560, height: int = 260) -> str:
    """Draw curves over common axes: each value faint, its moving average strong.

    Args:
        curves: at least one; non-finite values are gaps.
        width: of the drawing's coordinates; the page scales it.
        height: likewise.

    Returns:
        An ``<svg>`` element.
    """
    points = [p for curve in curves for p in zip(curve.x, curve.y, strict=True)]
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return '<p class="quiet">No values were logged.</p>'
    x_ticks = nice_ticks(min(x for x, _ in finite), max(x for x, _ in finite), 6)
    y_ticks = nice_ticks(min(y for _, y in finite), max(y for _, y in finite), 5)
    frame = Frame(x_ticks, y_ticks, width, height)
    label = f"{curves[0].chart}: {', '.join(curve.name for curve in curves)}"
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label, quote=True)}">',
        *frame.grid(curves[0].x_label),
    ]
    for number, curve in enumerate(curves):
        style = series(number)
        if len(curve.y) >= _ENOUGH:
            parts.append(frame.line(curve.x, curve.y, f"raw {style}"))
            parts.append(frame.line(curve.x, smooth(curve.y, len(curve.y) // _ENOUGH), style))
        else:
            parts.append(frame.line(curve.x, curve.y, style))
    return "".join([*parts, "</svg>"])


def series(number: int) -> str:
    """Style of a chart's line: its colour; from :data:`SERIES` on these again, in dashes."""
    return f"s{number % SERIES}" + (" dashed" if number >= SERIES else "")


_ENOUGH = 24
"""Values from which on a moving average says more than the values."""


class Frame:
    """Axes: from values to coordinates of the drawing."""

    def __init__(self, x_ticks: list[float], y_ticks: list[float], width: int, height: int) -> None:
        self.x_ticks, self.y_ticks, self.width, self.height = x_ticks, y_ticks, width, height

    def x(self, value: float) -> float:
        """Of a value."""
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return _LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Of a value, downwards."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM)

    def grid(self, x_label: str, x_texts: Sequence[str] | None = None) -> list[str]:
        """Lines and numbers of both axes; ``x_texts`` in the place of the x ticks as they are."""
        floor = self.height - _BOTTOM
        parts = []
        for tick, text in zip(self.y_ticks, tick_texts(self.y_ticks), strict=True):
            y = self.y(tick)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{self.width - _RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" class="end">{text}</text>')
        for tick, text in zip(self.x_ticks, x_texts or tick_texts(self.x_ticks), strict=True):
            parts.append(f'<text x="{self.x(tick):.1f}" y="{floor + 17}" class="mid">{text}</text>')
        middle = (_LEFT + self.width - _RIGHT) / 2
        label = f'<text x="{middle:.0f}" y="{floor + 35}" class="mid">{escape(x_label)}</text>'
        return [*parts, label]

    def line(self, xs: Sequence[float], ys: Sequence[float], style: str) -> str:
        """A polyline, broken at non-finite values; a value between two of them is a dot."""
        runs: list[list[str]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                runs[-1].append(f"{self.x(x):.1f} {self.y(y):.1f}")
            else:
                runs.append([])
        words = ["M" + ("L".join(run) if len(run) > 1 else f"{run[0]}h0") for run in runs if run]
        return f'<path class="line {style}" d="{"".join(words)}"/>'


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers that enclose a range, about ``count`` of them, never fewer than two."""
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        margin = max(abs(low) * 0.05, 1e-3)
        low, high = low - margin, high + margin
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """The ticks as short texts with the decimals that their step needs."""
    step = ticks[1] - ticks[0]
    decimals = next((d for d in range(9) if abs(round(step, d) - step) < 1e-3 * step), 9)
    whole = (0.0 if abs(tick) < step / 2 else tick for tick in ticks)  # no "-0"
    return [f"{tick:,.{decimals}f}" for tick in whole]
