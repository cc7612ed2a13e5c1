# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lidistill.cli import main
from lidistill.evaluation.results import ResultRow, summarise
from lidistill.io import DataError
from lidistill.visualization.chart import line_chart, nice_ticks, tick_texts
from lidistill.visualization.curves import Curve
from lidistill.visualization.report import Report, grid_rows, write_report
from lidistill.visualization.report_check import ROW
from lidistill.visualization.report_data import Picture, ReportData
from lidistill.visualization.report_tables import bars, classes_table, runs_table, verdict

VOID = {"meta", "input", "img", "br", "link", "path"}


class Checker(HTMLParser):
    """Collects what a page would load, and whether its elements are closed in order."""

    def __init__(self):
        super().__init__()
        self.stack, self.loads, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "poster"):
                self.loads.append(value)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def check(html):
    checker = Checker()
    checker.feed(html)
    assert checker.stack == []
    return checker


def row(name, values, twin="random init", **changes):
    base = ResultRow(name, twin, "mIoU", list(values), list(range(len(values))), 8, "demo.py", 75.0)
    return dataclasses.replace(base, **changes)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (9, 16, 3)).astype(np.uint8)


@pytest.fixture
def data(tmp_path):
    made = ReportData(
        tmp_path / "demo" / "report",
        title="SLidR <on> the world",
        lead="Lead & more.",
        dataset="embedded world small, seed 0",
        method="SLidR",
        rows=[
            row("random init", (0.2, 0.22), None, per_class={"car": [0.1, 0.3], "bus": [None] * 2}),
            row("SLidR", (0.5, 0.52), per_class={"car": [0.6, 0.8]}),
            row("permuted", (0.21, 0.2), note="control"),
        ],
        protocol="linear <classifier>",
        commands=["lidistill train a && b", "lidistill report work_dirs/demo"],
        facts={"Commit": "abc123", "Hardware": "2 cores"},
        notes=["Synthetic."],
        class_colours={"car": (255, 176, 32)},
    )
    made.add_picture(picture(), "front", "superpixels", "CAM_FRONT", "113 <superpixels>")
    made.add_picture(picture(1), "bev", "features", "From above", span=2)
    made.add_curve("Pretraining", "loss", range(60), np.linspace(7, 3, 60))
    return made


def test_round_trip(data):
    data.save()
    loaded = ReportData.load(data.folder)
    assert loaded == data
    assert ReportData.load(data.folder.parent) == data  # the work dir finds its report


def test_saved_pictures_keep_their_colours(data):
    cv2 = pytest.importorskip("cv2")
    read = cv2.imread(str(data.folder / "pictures" / "front.png"))[..., ::-1]
    np.testing.assert_array_equal(read, picture())


def test_pictures_and_curves_of_one_name_replace_each_other(data):
    data.add_picture(picture(5), "front", "pairs", "again")
    assert [p.file for p in data.pictures] == ["bev.png", "front.png"]
    data.add_curve("Pretraining", "loss", [1], [2])
    assert [(c.x, c.y) for c in data.curves] == [([1.0], [2.0])]


def test_bad_pictures(data):
    with pytest.raises(ValueError, match="span must be 1, 2 or 3"):
        data.add_picture(picture(), "a", "pairs", "t", span=4)
    with pytest.raises(ValueError, match="unknown section 'x'; known: superpixels, teacher"):
        data.add_picture(picture(), "a", "x", "t")
    with pytest.raises(
        ValueError, match=r"expected \(H, W, 3\) uint8 RGB, got \(9, 16, 3\) float64"
    ):
        data.add_picture(picture() / 255, "a", "pairs", "t")


def test_grid_rows():
    spans = [3, 1, 1, 1, 1, 2, 2, 1]
    pictures = [Picture(f"{i}.png", "pairs", "t", span=span) for i, span in enumerate(spans)]
    rows = [[picture.span for picture in row] for row in grid_rows(pictures)]
    assert rows == [[3], [1, 1, 1], [1, 2], [2, 1]]
    assert grid_rows([]) == []


def test_picture_alone_in_its_row_has_its_caption_beside_it(data):
    html = Report(data).html()
    assert html.count('<figure class="alone">') == 2
    data.add_picture(picture(2), "back", "superpixels", "CAM_BACK")
    assert Report(data).html().count('<figure class="alone">') == 1
    data.add_picture(picture(2), "wide", "pairs", "wide", span=3)
    assert '<figure class="span3">' in Report(data).html()


def test_load_errors(data):
    with pytest.raises(DataError, match=r"not found[\s\S]*make demo"):
        ReportData.load(data.folder)
    data.save()
    results = data.folder / "results.json"
    good = json.loads(results.read_text())
    for bad, message in (
        ({**good, "colour": 1}, "expected an object with the keys"),
        ({"rows": []}, "Expected a record with 'title'"),
        ({**good, "rows": [{"name": "x"}]}, r"Expected a record with 'metric'[\s\S]*row 0"),
        ({**good, "rows": 3}, "'rows'"),
        ({**good, "facts": {"a": None}}, "'facts'"),
        ({**good, "class_colours": {"car": [1, 2]}}, "'class_colours'"),
        ({**good, "pictures": [{**good["pictures"][0], "span": 4}]}, "'span'"),
        ([], "Expected a record"),
    ):
        results.write_text(json.dumps(bad))
        with pytest.raises(DataError, match=message):
            ReportData.load(data.folder)
    results.write_text(json.dumps(good))
    (data.folder / "pictures" / "bev.png").unlink()
    with pytest.raises(DataError, match=r"a picture is missing[\s\S]*bev\.png"):
        ReportData.load(data.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda curve: "text",
        lambda curve: {**curve, "y": curve["y"][1:]},
        lambda curve: {**curve, "x": None},
        lambda curve: {**curve, "y": [10**400] * len(curve["x"])},
        lambda curve: {**curve, "colour": 1},
        lambda curve: {"chart": "loss"},
    ],
)
def test_an_error_in_the_curves_names_their_file(data, change):
    data.add_curve("loss", "total", [1, 2, 3], [3, 2, 1])
    data.save()
    curves = data.folder / "curves.json"
    good = json.loads(curves.read_text())
    curves.write_text(json.dumps([*good[:-1], change(good[-1])]))
    with pytest.raises(DataError, match=rf"(?s)curves\.json.*curve {len(good) - 1}"):
        ReportData.load(data.folder)
    for junk in ("3", "{}", "[[]]", "no JSON"):
        curves.write_text(junk)
        with pytest.raises(DataError, match=r"curves\.json"):
            ReportData.load(data.folder)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"<svg/>", b"\x89PNG\r\n\x1a\n" + bytes(40), b"GIF89a"]
)
def test_empty_and_junk_pictures_are_named_and_not_embedded(data, tmp_path, content, capsys):
    data.save()
    (data.folder / "pictures" / "bev.png").write_bytes(content)
    with pytest.raises(DataError, match=r"bev\.png"):
        ReportData.load(data.folder)
    with pytest.raises(DataError, match=r"bev\.png"):
        write_report(data, tmp_path / "page.html")
    assert main(["report", str(data.folder)]) == 1
    assert "bev.png" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
    assert not (data.folder.parent / "report.html").exists()


@pytest.mark.parametrize(
    "name", ["../../../secret.png", "/secret.png", "..\\secret.png", "C:x.png"]
)
def test_a_picture_outside_of_the_folder_is_refused(data, tmp_path, name):
    data.save()
    secret = tmp_path / "secret.png"
    secret.write_bytes((data.folder / "pictures" / "bev.png").read_bytes())
    results = data.folder / "results.json"
    record = json.loads(results.read_text())
    record["pictures"][0]["file"] = str(secret) if name.startswith("/") else name
    results.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"secret|C:x"):
        ReportData.load(data.folder)


def test_a_link_to_a_picture_outside_of_the_folder_is_refused(data, tmp_path):
    data.save()
    inner = data.folder / "pictures" / "bev.png"
    inner.rename(tmp_path / "secret.png")
    inner.symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"outside of the report[\s\S]*bev\.png"):
        ReportData.load(data.folder)


def test_a_picture_is_of_the_type_that_its_name_says(data):
    data.save()
    path = data.folder / "pictures" / "bev.png"
    Image.fromarray(picture()).save(path, format="jpeg")
    with pytest.raises(DataError, match="expected a png picture"):
        ReportData.load(data.folder)


def test_page_is_whole_and_needs_nothing_from_outside(data):
    html = Report(data).html()
    checker = check(html)
    assert checker.loads
    assert all(value.startswith("data:image/") for value in checker.loads)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    assert "script" not in checker.tags
    assert not re.findall(r"https?://", html)


def test_page_shows_everything_escaped(data):
    html = Report(data).html()
    for words in (
        "SLidR &lt;on&gt; the world",
        "Lead &amp; more.",
        "embedded world small, seed 0",
        "113 &lt;superpixels&gt;",
        "linear &lt;classifier&gt;",
        "lidistill train a &amp;&amp; b",
        "abc123",
        "Synthetic.",
        "What the image says",
        "What the student learned",
    ):
        assert words in html, words
    for absent in ("SLidR <on>", "<superpixels>", "What reaches the LiDAR"):
        assert absent not in html


def test_page_of_a_run_that_has_only_begun(tmp_path):
    html = Report(ReportData(tmp_path, "Just begun")).html()
    check(html)
    assert "<section>" not in html


def test_every_variable_of_the_style_is_set(data):
    html = Report(data).html()
    used, light = set(re.findall(r"var\((--[\w-]+)\)", html)), html.split("@media", 1)[0]
    assert used <= set(re.findall(r"(--[\w-]+):", light))


def test_verdict_is_as_strong_as_the_seeds(data):
    assert verdict(data) == (
        "SLidR reaches 0.510 linear-probe mIoU, random init 0.210: +0.300 ± 0.000 over 2 seeds."
    )
    data.rows[1] = row("SLidR", (0.19, 0.25))
    assert "over 2 seeds, no clear difference." in verdict(data)
    data.rows[:2] = [row("random init", [0.2], None), row("SLidR", [0.5])]
    assert verdict(data).endswith("+0.300 (one seed, so without a spread).")
    data.rows[1] = dataclasses.replace(data.rows[1], seeds=[7])
    assert verdict(data).endswith(": no seed in common, so without a paired difference.")
    data.method = "random init"
    assert verdict(data) == ""


def test_bars_are_as_long_as_the_means():
    html = bars([row("a", (0.2, 0.4), None), row("b", [0.1], "a")], "a")
    check(html)
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%", html)]
    assert widths[0] / widths[1] == pytest.approx(3, rel=1e-3)
    assert max(widths) < 100
    assert html.count("<i ") == 2  # a single seed has no dot
    assert html.count("chosen") == 1
    check(bars([row("zero", [0.0], None)], ""))
    scores = [math.nan, 0.4], [0.1, 0.2]  # NaN: nothing to score
    html = bars([row(name, values, None) for name, values in zip("ab", scores, strict=True)], "")
    assert "nan%" not in html
    assert [float(w) for w in re.findall(r"width:([\d.]+)%", html)] == [0, 33.48]
    assert html.count("<i ") == 3


def test_tables(data):
    runs = runs_table(data.rows, "SLidR", "mIoU")
    check(runs)
    assert '0.510 <span class="quiet">± 0.014</span>' in runs
    assert '+0.300 <span class="quiet">± 0.000</span> <span class="quiet">to random init' in runs
    assert "75 s" in runs
    runs = runs_table(data.rows, "SLidR", "AP <img src=x>")
    check(runs)
    assert "AP &lt;img src=x&gt;" in runs
    classes = classes_table(data)
    check(classes)
    assert "rgb(255, 176, 32)" in classes
    assert "<strong>0.700</strong>" in classes  # the better one
    assert "<strong>0.200</strong>" not in classes
    assert "&ndash;" in classes  # bus was not scored
    data.rows = [row("a", [0.1], None)]
    assert classes_table(data) == ""


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (2.9, 6.4), (-3, 5), (0, 40000), (1e-6, 4e-6), (5, 5), (0, 0)]
)
def test_nice_ticks(low, high):
    ticks = nice_ticks(low, high, 5)
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12
    assert 2 <= len(ticks) <= 9
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0])
    assert len(set(tick_texts(ticks))) == len(ticks)


def test_tick_texts():
    assert tick_texts([0, 10000, 20000]) == ["0", "10,000", "20,000"]
    assert tick_texts([-0.5, -0.0, 0.5]) == ["-0.5", "0.0", "0.5"]
    assert tick_texts([0.25, 0.5]) == ["0.25", "0.50"]


def test_chart_draws_what_it_is_given():
    svg = line_chart([Curve("c", "a", [0, 1, 2, 3], [1.0, math.nan, 2.0, 3.0])])
    check(svg)
    (path,) = re.findall(r'class="line s0" d="([^"]*)"', svg)
    assert path.count("M") == 2  # broken at the gap
    numbers = [float(n) for n in re.findall(r"[\d.]+", path.replace("h0", ""))]
    assert numbers[1] > numbers[3] > numbers[5]  # larger values lie higher
    assert numbers[0] < numbers[2] < numbers[4]
    (dots,) = re.findall(
        r' d="(M[^"]*)"/></svg>', line_chart([Curve("c", "a", [0, 1, 2], [1.0, math.nan, 2.0])])
    )
    assert dots.count("h0") == dots.count("M") == 2  # alone; a line to nowhere is not drawn
    many = line_chart([Curve("c", n, list(range(60)), [1.0] * 60) for n in "ab"])
    assert many.count("raw s0") == many.count("raw s1") == 1
    assert "No values" in line_chart([Curve("c", "a", [1], [math.nan])])


def test_each_line_of_a_chart_looks_like_no_other(tmp_path):
    """Six colours: a seventh line had the first one's."""
    data = ReportData(tmp_path, "a")
    for number in range(8):
        data.add_curve("Terms", f"term {number}", [0, 1], [number, number + 1])
    page = Report(data).html()
    lines = re.findall(r'<path class="line ([^"]*)"', page)
    keys = re.findall(r'viewBox="0 0 18 10"><path class="([^"]*)"', page)
    assert len(set(lines)) == 8
    assert keys == lines


def test_verb(data, capsys):
    data.save()
    work_dir = data.folder.parent
    assert main(["report", str(work_dir)]) == 0
    page = (work_dir / "report.html").read_text(encoding="utf-8")
    assert page == Report(data).html()
    assert "report.html" in capsys.readouterr().out
    other = work_dir / "pages" / "x.html"
    assert main(["report", str(data.folder), "--out", str(other)]) == 0
    assert other.read_text(encoding="utf-8") == page
    assert main(["report", str(work_dir / "nothing")]) == 1
    assert "make demo" in " ".join(capsys.readouterr().err.split())


def test_failed_page_leaves_the_old_one(data, tmp_path):
    out = tmp_path / "report.html"
    write_report(data, out)
    before = out.read_text(encoding="utf-8")
    data.pictures[0].file = "front.svgz"
    (data.folder / "pictures" / "front.svgz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no known type; expected one of \.png"):
        write_report(data, out)
    assert out.read_text(encoding="utf-8") == before


def test_a_row_has_one_value_a_seed(data):
    data.rows[1] = dataclasses.replace(data.rows[1], seeds=[0])
    data.save()
    with pytest.raises(DataError, match=r"(?s)one value a seed, got 2.*results\.json.*row SLidR"):
        ReportData.load(data.folder)


def test_every_field_of_a_row_is_read_back(data):
    """A field that is new in a row must be new in the schema, or no report can be read."""
    assert {key.removesuffix("?") for key in ROW} == {f.name for f in dataclasses.fields(ResultRow)}
    data.rows[1] = dataclasses.replace(data.rows[1], per_group={"near": [0.5, None]})
    data.save()
    assert ReportData.load(data.folder).rows == data.rows


def test_scores_of_nothing_are_read_back(data):
    """NaN is null in JSON: a score where no object counts must not make the page unreadable."""
    nothing = {"values": [math.nan, 0.25], "per_class": {"car": [None, 0.5]}}
    data.rows[:] = [dataclasses.replace(row, **nothing) for row in data.rows]
    data.curves[0] = dataclasses.replace(data.curves[0], y=[math.nan, *data.curves[0].y[1:]])
    data.save()
    found = ReportData.load(data.folder)
    assert math.isnan(found.rows[0].values[0])
    assert math.isnan(found.curves[0].y[0])
    assert math.isnan(summarise(found.rows[0], found.rows).spread)
    assert "<html" in Report(found).html()
    text = (data.folder / "results.json").read_text()
    (data.folder / "results.json").write_text(text.replace("0.25", "Infinity", 1))
    with pytest.raises(DataError, match=r"(?s)'values'.*null where there is none"):
        ReportData.load(data.folder)
