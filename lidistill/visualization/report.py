# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file with everything in it, to be opened anywhere and mailed around."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path

from lidistill import __version__
from lidistill.io import atomic_write
from lidistill.visualization.chart import line_chart, series
from lidistill.visualization.curves import Curve
from lidistill.visualization.report_check import picture_bytes
from lidistill.visualization.report_data import FIX, SECTIONS, Picture, ReportData
from lidistill.visualization.report_style import STYLE
from lidistill.visualization.report_tables import bars, classes_table, runs_table, verdict


def write_report(data: ReportData, out: Path) -> Path:
    """Write the page, whole or not at all.

    Args:
        data: what to show.
        out: the ``.html`` file.

    Returns:
        ``out``.
    """
    page = Report(data).html()
    with atomic_write(out) as path:
        path.write_text(page, encoding="utf-8")
    return out


class Report:
    """Builds the page from :class:`~lidistill.visualization.report_data.ReportData`.

    Parts without content are left out, so the page of a run that is half done is valid too.
    """

    def __init__(self, data: ReportData) -> None:
        self.data = data

    def html(self) -> str:
        """The whole document."""
        sections = [self.pictures(key) for key in ("superpixels", "teacher", "pairs")]
        sections += [self.pictures(key) for key in ("features", "detections", "regions")]
        sections += [self.curves(), self.numbers(), self.again()]
        title = escape(self.data.title)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
            + "\n".join(part for part in [self.header(), *sections, self.footer()] if part)
            + "\n</main>\n</body>\n</html>\n"
        )

    def header(self) -> str:
        """Title, what was done, on what, and the result in one sentence and a few bars."""
        data = self.data
        parts = [f'<p class="brand">lidistill</p><h1>{escape(data.title)}</h1>']
        if data.lead:
            parts.append(f'<p class="lead">{escape(data.lead)}</p>')
        if data.dataset:
            parts.append(f'<span class="tag">{escape(data.dataset)}</span>')
        sentence = verdict(data)
        if sentence:
            parts.append(f'<p class="verdict">{escape(sentence)}</p>')
        if data.rows:
            several = any(len(row.values) > 1 for row in data.rows)
            label = data.metric + ("; a dot is one seed" if several else "; one seed")
            parts.append(
                f'<div class="card"><p class="quiet label">{escape(_sentence(label))}</p>'
                f"{bars(data.rows, data.method)}</div>"
            )
        return f"<header>{''.join(parts)}</header>"

    def pictures(self, section: str) -> str:
        """A section of pictures; nothing if it has none."""
        chosen = [picture for picture in self.data.pictures if picture.section == section]
        if not chosen:
            return ""
        figures = "".join(
            self._figure(picture, "alone" if len(row) == 1 and picture.span < 3 else "")
            for row in grid_rows(chosen)
            for picture in row
        )
        return _section(*SECTIONS[section], f'<div class="grid3">{figures}</div>')

    def curves(self) -> str:
        """Training curves, one chart a title."""
        charts: dict[str, list[Curve]] = {}
        for curve in self.data.curves:
            charts.setdefault(curve.chart, []).append(curve)
        if not charts:
            return ""
        cards = [
            f'<div class="card"><h3>{escape(title)}</h3>{_legend(curves)}{line_chart(curves)}</div>'
            for title, curves in charts.items()
        ]
        return _section(
            "How it trained",
            "Faint: each logged value. Strong: its moving average.",
            f'<div class="charts">{"".join(cards)}</div>',
        )

    def numbers(self) -> str:
        """The table of runs, the table of classes, the protocol."""
        data = self.data
        if not data.rows:
            return ""
        body = runs_table(data.rows, data.method, data.metric) + classes_table(data)
        if data.protocol:
            body += f'<p class="small">Protocol: {escape(data.protocol)}.</p>'
        return _section(
            "What it is worth",
            f"{_sentence(data.metric)} on {data.dataset or 'the validation frames'}, beside "
            f"{data.beside}.",
            body,
        )

    def again(self) -> str:
        """Commands, facts, notes."""
        data = self.data
        body = ""
        if data.commands:
            lines = "\n".join(
                f'<span class="prompt">$ </span>{escape(command)}' for command in data.commands
            )
            body += f"<pre><code>{lines}</code></pre>"
        if data.facts:
            items = "".join(
                f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
                for name, value in data.facts.items()
            )
            body += f"<dl>{items}</dl>"
        body += "".join(f'<p class="small">{escape(note)}</p>' for note in data.notes)
        return _section("How to get it again", "", body) if body else ""

    def footer(self) -> str:
        """What made the page."""
        return f"<footer>Made by lidistill {__version__}.</footer>"

    def _figure(self, picture: Picture, style: str = "") -> str:
        kind, content = picture_bytes(self.data.folder / "pictures", picture.file, FIX)
        encoded = base64.b64encode(content).decode("ascii")
        style = f' class="{style or f"span{picture.span}"}"'
        caption = f"<strong>{escape(picture.title)}.</strong> {escape(picture.caption)}".rstrip()
        about = escape(re.sub(r"\s+", " ", f"{picture.title}. {picture.caption}"), quote=True)
        return (
            f'<figure{style}><label class="zoom"><input type="checkbox" aria-label="enlarge">'
            f'<img alt="{about}" src="data:image/{kind};base64,{encoded}"></label>'
            f"<figcaption>{caption}</figcaption></figure>"
        )


def grid_rows(pictures: list[Picture]) -> list[list[Picture]]:
    """Pictures as the page's grid breaks them: three of span 1 a row, two of span 2, one of 3."""
    widths = {1: 2, 2: 3, 3: 6}  # of six columns
    rows: list[list[Picture]] = []
    free = 0
    for picture in pictures:
        width = widths[picture.span]
        if width > free:
            rows.append([])
            free = 6
        rows[-1].append(picture)
        free -= width
    return rows


def _sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _section(title: str, lead: str, body: str) -> str:
    intro = f"<p>{escape(lead)}</p>" if lead else ""
    return f"<section><h2>{escape(title)}</h2>{intro}{body}</section>"


def _legend(curves: list[Curve]) -> str:
    """Names of the lines; a single line needs none."""
    if len(curves) < 2:
        return f'<div class="legend"><span>{escape(curves[0].name)}</span></div>'
    items = [
        f'<span><svg viewBox="0 0 18 10"><path class="{series(number)}" d="M1 5H17"/></svg>'
        f"{escape(curve.name)}</span>"
        for number, curve in enumerate(curves)
    ]
    return f'<div class="legend">{"".join(items)}</div>'
