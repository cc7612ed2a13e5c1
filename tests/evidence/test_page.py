# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import math

import pytest

from lidistill.evaluation.results import duration, summarise
from lidistill.evidence.page import to_markdown
from lidistill.evidence.record import (
    Evidence,
    EvidenceRow,
    check_record,
    load_evidence,
    save_evidence,
)
from lidistill.io import DataError


def row(name="random init", values=(0.2, 0.3, 0.25), twin=None, **changes):
    base = EvidenceRow(
        name=name,
        twin=twin,
        metric="mIoU",
        values=list(values),
        seeds=[0, 1, 2],
        n=80,
        config="configs/slidr/demo.py",
        wall_s=130.0,
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture
def evidence():
    rows = [
        row(per_class={"car": [0.1, 0.2, 0.3], "bus": [None, None, None]}),
        row(
            "SLidR",
            (0.5, 0.55, 0.6),
            "random init",
            per_class={"car": [0.5, 0.6, 0.7]},
            per_group={"0 to 15 m (9 objects)": [0.7, 0.8, None]},
            further={"NDS": [0.3, 0.4, 0.5], "mATE": [0.9, None, None], "mAOE": [None] * 3},
        ),
        row("permuted", (0.22, 0.28, 0.25), "random init", note="negative control"),
    ]
    return Evidence("slidr", "embedded world small, seed 0", "abc123", "2 cores", "run me", rows)


def test_summary_equals_hand_computation(evidence):
    got = summarise(evidence.rows[1], evidence.rows)
    assert got.mean == pytest.approx(0.55)
    assert got.spread == pytest.approx(0.05)
    assert got.differences == pytest.approx((0.3, 0.25, 0.35))
    assert got.difference == pytest.approx(0.3)
    assert got.difference_spread == pytest.approx(0.05)
    assert got.beyond_spread
    assert not summarise(evidence.rows[2], evidence.rows).beyond_spread  # signs differ


def test_summary_pairs_by_seed_not_by_position():
    base = row(values=(1.0, 2.0, 3.0))
    other = row("x", (3.5, 1.5), "random init", seeds=[2, 0])
    assert summarise(other, [base, other]).differences == pytest.approx((0.5, 0.5))


def test_summary_of_one_seed_has_no_spread():
    base, other = row(values=[0.2], seeds=[0]), row("x", [0.5], "random init", seeds=[0])
    got = summarise(other, [base, other])
    assert math.isnan(got.spread)
    assert math.isnan(got.difference_spread)
    assert not got.beyond_spread
    assert math.isnan(summarise(base, [base]).difference)


def test_round_trip(evidence, tmp_path):
    path = tmp_path / "docs" / "slidr.json"
    save_evidence(evidence, path)
    assert load_evidence(path) == evidence
    plain = json.loads(path.read_text())
    required = {"name", "twin", "metric", "values", "seeds", "n", "config", "wall_s"}
    assert set(plain) == {"method", "dataset", "commit", "hardware", "command", "rows"}
    assert set(plain["rows"][0]) == required | {"per_class"}
    assert set(plain["rows"][2]) == required | {"note"}
    assert plain["rows"][0]["twin"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"commit": None}, "commit has type NoneType"),
        ({"colour": "red"}, r"unknown \['colour'\]"),
        ({"rows": [{"name": "x"}]}, r"row 0: missing \['config'"),
        ({"rows": ["x"]}, "row 0 must be an object, got str"),
    ],
)
def test_wrong_record(evidence, change, message):
    record = {**dataclasses.asdict(evidence), **change}
    with pytest.raises(DataError, match=message):
        check_record(record, "slidr.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"twin": "nobody"}, "has the twin 'nobody'; rows are"),
        ({"values": [0.1, 0.2]}, "2 values for 3 seeds"),
        ({"values": [0.1, 0.2, math.nan]}, "finite"),
        ({"seeds": [0, 0, 1]}, "a seed occurs twice"),
        ({"name": "permuted"}, "two rows are named 'permuted'"),
        ({"per_class": {"car": [0.1]}}, "1 car for 3 seeds"),
        ({"per_class": {"car": [0.1, math.nan, 0.1]}}, "car must be finite numbers"),
        ({"per_group": {"near": [0.1]}}, "1 near for 3 seeds"),
        ({"further": {"NDS": [0.1]}}, "1 NDS for 3 seeds"),
        ({"values": [0.1, 10**400, 0.1]}, "values must be finite numbers, got"),
        ({"values": [0.1, 10**5000, 0.1]}, "got numbers too long to be written"),
        ({"values": [0.1, True, 0.1]}, "values must be finite numbers"),
        ({"values": [0.1, "0.2", 0.1]}, "values must be finite numbers"),
        ({"values": {"a": 1}}, "values has type dict"),
        ({"seeds": [0, [1], 2]}, "seeds must be whole numbers"),
        ({"seeds": [0, 1.5, 2]}, "seeds must be whole numbers"),
        ({"n": 10**400}, "n and steps must be finite numbers"),
        ({"wall_s": math.inf}, "wall_s, n and steps must be finite numbers"),
        ({"cost": {"s": math.nan}}, "cost must be finite numbers"),
        ({"cost": [1]}, "cost has type list"),
        ({"per_class": {"car": 3}}, "car must be a list, got int"),
        ({"twin": ["x"]}, "twin has type list"),
    ],
)
def test_wrong_row_is_not_written(evidence, change, message, tmp_path):
    evidence.rows[1] = dataclasses.replace(evidence.rows[1], **change)
    with pytest.raises(DataError, match=message):
        save_evidence(evidence, tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_load_errors_name_the_file_and_the_command(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(DataError, match="not found"):
        load_evidence(path)
    path.write_text("[]")
    with pytest.raises(
        DataError, match=r"must be an object, got list[\s\S]*x\.json[\s\S]*evidence"
    ):
        load_evidence(path)


def test_markdown(evidence, tmp_path):
    path = tmp_path / "slidr.json"
    evidence.protocol = "linear probe"
    save_evidence(evidence, path)
    text = to_markdown(str(path))
    assert "| run | NDS | mATE | mAOE |" in text
    assert "| SLidR | 0.400 ± 0.100 | 0.900 | - |" in text
    lines = text.splitlines()
    slidr = next(line for line in lines if line.startswith("| SLidR"))
    assert "0.550 ± 0.050" in slidr
    assert "+0.300 ± 0.050 to random init (+0.300, +0.250, +0.350)" in slidr
    assert "| 0, 1, 2 | 80 | 2 min |" in slidr
    assert "| random init | 0.250 ± 0.050 | 0.200, 0.300, 0.250 | - |" in text
    assert "| car | 0.200 | 0.600 |" in lines
    assert "| bus | - | - |" in lines
    assert "- permuted: negative control" in lines
    for words in ("embedded world small", "`abc123`", "2 cores", "`run me`", "Protocol: linear"):
        assert words in text
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables} == {8, 5, 4, 3}
    assert lines[lines.index("| objects | SLidR |") + 2] == "| 0 to 15 m (9 objects) | 0.750 |"


def test_markdown_names_metrics_that_differ(evidence, tmp_path):
    evidence.rows[2] = dataclasses.replace(evidence.rows[2], metric="mIoU, kNN")
    save_evidence(evidence, tmp_path / "x.json")
    assert "| permuted (mIoU, kNN) |" in to_markdown(tmp_path / "x.json")


def test_duration():
    assert [duration(s) for s in (48.2, 720, 12_240)] == ["48 s", "12 min", "3.4 h"]


def test_parts_of_many_runs_are_a_line_a_run(evidence, tmp_path):
    evidence.rows[2] = dataclasses.replace(
        evidence.rows[2], per_class={"car": [0.3, 0.3, 0.3], "bus": [0.1, 0.2, 0.3]}
    )
    save_evidence(evidence, tmp_path / "x.json")
    lines = to_markdown(tmp_path / "x.json").splitlines()
    table = lines.index("| run | car | bus |")
    assert lines[table + 2 : table + 5] == [
        "| random init | 0.200 | - |",
        "| SLidR | 0.600 | - |",
        "| permuted | 0.300 | 0.200 |",
    ]


def test_the_only_class_is_not_shown_again_where_it_is_the_metric(evidence, tmp_path):
    evidence.rows[:] = [
        dataclasses.replace(each, per_class={"car": each.values}) for each in evidence.rows
    ]
    save_evidence(evidence, tmp_path / "x.json")
    assert "car" not in to_markdown(tmp_path / "x.json")
