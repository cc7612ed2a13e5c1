# SPDX-License-Identifier: Apache-2.0
"""The bench beside compiled mmcv: what it calls, and how it asks the other process."""

from __future__ import annotations

import sys
import types

import pytest

from lidistill import compat
from lidistill.bench import measure as measuring
from lidistill.bench import run as bench
from lidistill.bench.case import Case, ProcessorSeconds
from lidistill.bench.mmcv import _calls, compiled


def test_without_compiled_mmcv_there_are_no_cases_and_the_error_says_what_to_name(
    monkeypatch, capsys
):
    monkeypatch.delenv("LIDISTILL_MMCV_PYTHON", raising=False)
    assert compiled.cases("full") == []
    asked = types.SimpleNamespace(list=False, names=["mmcv.compiled"], quick=True, out=None)
    assert bench.run(asked) == 1
    assert "LIDISTILL_MMCV_PYTHON" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(_calls.works(0.005)))
def test_every_call_runs_over_the_stand_in(name):
    compat.apply()
    work = _calls.works(0.005)[name][1]()
    assert _calls.processor_seconds(work) > 0


def test_the_other_process_is_asked_by_name(tmp_path, monkeypatch):
    """An interpreter of this environment in place of one with compiled mmcv."""
    calls = tmp_path / "calls.py"
    calls.write_text(
        "import sys\nfor line in sys.stdin:\n    print(len(line.strip()), flush=True)\n"
    )
    monkeypatch.setattr(_calls, "__file__", str(calls))
    monkeypatch.setenv("LIDISTILL_MMCV_PYTHON", sys.executable)
    case = next(case for case in compiled.cases("quick") if case.name == "mmcv, nms")
    assert case.reference() == ProcessorSeconds(len("nms"))
    calls.write_text("")
    (gone,) = (case for case in compiled.cases("quick") if case.name == "mmcv, soft_nms")
    with pytest.raises(RuntimeError, match="ended at 'soft_nms'"):
        gone.reference()


def test_a_case_may_count_its_own_seconds():
    case = Case("c", "s", lambda: ProcessorSeconds(6.0), lambda: ProcessorSeconds(2.0))
    row = measuring.measure(case, budget_s=0.0)
    assert (row.reference_s, row.ours_s, row.ratio) == (6.0, 2.0, 3.0)
    assert row.reference_mib is None  # it may have run elsewhere
