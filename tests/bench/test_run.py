# SPDX-License-Identifier: Apache-2.0
"""The bench runner: pairs, medians, peaks, discovery and the record that it leaves."""

from __future__ import annotations

import argparse
import time
import types

import numpy as np
import pytest

from lidistill.bench import measure as measure_module
from lidistill.bench import run as bench
from lidistill.bench.case import Case
from lidistill.bench.measure import measure, peak_mib
from lidistill.io import read_json, write_json


def test_rounds_take_turns():
    calls = []
    case = Case("c", "s", lambda: calls.append("reference"), lambda: calls.append("ours"))
    row = measure(case, budget_s=0.0)
    assert row.rounds == 3
    warm_up_and_memory = 4
    assert calls[warm_up_and_memory:] == [
        *("reference", "ours"),
        *("ours", "reference"),
        *("reference", "ours"),
    ]


def test_ratio_is_the_median_of_paired_ratios(monkeypatch):
    # three rounds; the machine is slow in the second: the pair is slow together
    times = {"reference": iter([4.0, 40.0, 6.0]), "ours": iter([1.0, 10.0, 2.0])}

    def reference():
        return "reference"

    def ours():
        return "ours"

    monkeypatch.setattr(measure_module, "seconds", lambda work: next(times[work()]))
    row = measure(Case("c", "s", reference, ours), budget_s=0.0)
    assert row.ratio == np.median([4.0 / 1.0, 40.0 / 10.0, 6.0 / 2.0])
    assert (row.reference_s, row.ours_s) == (6.0, 2.0)


def test_rounds_stop_at_the_limit():
    row = measure(Case("c", "s", None, lambda: None), budget_s=60.0, max_rounds=5)
    assert row.rounds == 5


def test_without_reference():
    row = measure(Case("step", "s", None, lambda: time.sleep(0.001)), budget_s=0.0)
    assert row.reference_s is None
    assert row.ratio is None
    assert row.reference_mib is None
    assert row.ours_s >= 0.001


def allocate(mib: int):
    def work():
        block = np.ones(mib * 2**20 // 8)
        time.sleep(0.02)  # long enough to be sampled
        return float(block[0])

    return work


@pytest.mark.parametrize("mib", [64, 192])
def test_peak_is_what_the_call_takes(mib):
    assert peak_mib(allocate(mib)) == pytest.approx(mib, abs=16)


def test_peak_by_sampling_agrees():
    assert measure_module._peak_mib_sampled(allocate(128)) == pytest.approx(128, abs=16)


def test_peak_falls_back_to_sampling(monkeypatch):
    monkeypatch.setattr(measure_module, "_reset_peak", lambda: False)
    assert peak_mib(allocate(128)) == pytest.approx(128, abs=16)


@pytest.fixture
def two_benchmarks(monkeypatch):
    modules = {
        "alpha": types.SimpleNamespace(
            cases=lambda size: [Case("slow and fast", size, lambda: time.sleep(2e-3), lambda: None)]
        ),
        "beta": types.SimpleNamespace(cases=lambda size: [Case("alone", size, None, lambda: 1)]),
    }
    monkeypatch.setattr(bench, "benchmark_names", lambda: sorted(modules))
    monkeypatch.setattr(
        bench.importlib, "import_module", lambda name: modules[name.rsplit(".", 1)[1]]
    )


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(words)


def test_run_prints_and_writes_the_record(two_benchmarks, tmp_path, capsys):
    out = tmp_path / "deep" / "benchmarks.json"
    assert bench.run(arguments("--quick", "--out", str(out))) == 0
    printed = capsys.readouterr().out
    assert "ratio" in printed
    record = read_json(out)
    assert set(record) >= {"commit", "hardware", "threads", "rows"}
    first, second = record["rows"]
    columns = {"name", "size", "reference_s", "ours_s", "ratio", "reference_mib", "ours_mib"}
    assert set(first) >= columns
    assert (first["name"], first["size"]) == ("slow and fast", "quick")
    assert first["ratio"] > 1
    assert second["reference_s"] is None


def test_a_part_of_the_benchmarks_does_not_replace_the_record(
    two_benchmarks, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert bench.run(arguments("beta", "--budget", "0")) == 0
    assert not (tmp_path / bench.DEFAULT_OUT).exists()
    assert bench.run(arguments("--budget", "0")) == 0
    assert len(read_json(tmp_path / bench.DEFAULT_OUT)["rows"]) == 2


def test_named_benchmarks_take_their_own_rows_place(two_benchmarks, tmp_path):
    out = tmp_path / "benchmarks.json"
    assert bench.run(arguments("--quick", "--out", str(out))) == 0
    before = read_json(out)["rows"]
    assert bench.run(arguments("beta", "--quick", "--out", str(out))) == 0
    kept, measured = read_json(out)["rows"]
    assert {**kept, "commit": ""} == {**before[0], "commit": ""}
    assert kept["commit"] == read_json(out)["commit"]
    assert (measured["benchmark"], measured["name"]) == ("beta", "alone")
    assert bench.run(arguments("alpha", "beta", "--quick", "--out", str(out))) == 0
    assert [row["benchmark"] for row in read_json(out)["rows"]] == ["alpha", "beta"]


def test_rows_of_another_machine_are_not_mixed(two_benchmarks, tmp_path):
    out = tmp_path / "benchmarks.json"
    write_json(out, {"commit": "a", "hardware": "a Cray", "threads": 2, "rows": []})
    with pytest.raises(ValueError, match="a Cray"):
        bench.run(arguments("beta", "--out", str(out)))


def test_a_benchmark_that_breaks_takes_no_other_along(
    two_benchmarks, tmp_path, monkeypatch, capsys
):
    load = bench.load_cases

    def breaking(name, size):
        if name == "alpha":
            raise IndexError("index 3 is out of bounds")
        return load(name, size)

    monkeypatch.setattr(bench, "load_cases", breaking)
    out = tmp_path / "benchmarks.json"
    assert bench.run(arguments("--quick", "--out", str(out))) == 1
    assert [row["benchmark"] for row in read_json(out)["rows"]] == ["beta"]
    printed = capsys.readouterr().out
    assert "index 3 is out of bounds" in printed
    assert "not measured: alpha" in printed


def test_list(two_benchmarks, capsys):
    assert bench.run(arguments("--list")) == 0
    assert capsys.readouterr().out.split() == ["alpha", "beta"]


def test_unknown_name_lists_the_known(two_benchmarks):
    with pytest.raises(ValueError, match="no benchmark gamma; there are alpha, beta"):
        bench.run(arguments("gamma"))


def test_none_at_all_is_an_error():
    with pytest.raises(ValueError, match="found none"):
        bench.check_names([], [])


def test_module_without_cases(monkeypatch):
    module = types.SimpleNamespace(__file__="lidistill/bench/gamma.py")
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: module)
    with pytest.raises(ValueError, match=r"cases\(size\) in lidistill/bench/gamma.py"):
        bench.load_cases("gamma", "quick")


def test_discovery_leaves_the_machinery_out():
    names = bench.benchmark_names()
    assert not {"case", "measure", "run", "__init__"} & set(names)


def benchmark_params() -> list:
    slow = {"pretrain_step": pytest.mark.slow}  # makes worlds of its own
    return [pytest.param(name, marks=slow.get(name, ())) for name in bench.benchmark_names()]


@pytest.mark.parametrize("name", benchmark_params())
def test_each_benchmark_runs_small(name):
    for case in bench.load_cases(name, "quick"):
        assert case.name
        assert case.size
        if case.reference is not None:
            case.reference()
        assert case.ours() is not None
