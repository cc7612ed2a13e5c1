# SPDX-License-Identifier: Apache-2.0
import json
import math

import pytest

from lidistill.io import DataError
from lidistill.visualization.curves import Curve, read_scalars, smooth


def write_log(work_dir, start, entries, tail=""):
    path = work_dir / start / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(e) + "\n" for e in entries) + tail)


def test_reads_what_mmengine_writes(tmp_path):
    vis_backend = pytest.importorskip("mmengine.visualization.vis_backend")
    backend = vis_backend.LocalVisBackend(str(tmp_path / "20250101" / "vis_data"))
    for step in (10, 20):
        backend.add_scalars({"loss": 7.0 - step / 10, "lr": 0.1, "iter": step}, step=step)
    assert read_scalars(tmp_path) == {"loss": ([10, 20], [6.0, 5.0]), "lr": ([10, 20], [0.1, 0.1])}


def test_resumed_run_is_one_curve(tmp_path):
    write_log(tmp_path, "1", [{"loss": 9.0 - s, "step": s} for s in (1, 2, 3)], tail='{"loss": 4.')
    write_log(tmp_path, "2", [{"loss": 0.5, "step": 3}, {"loss": 0.4, "step": 4}])
    assert read_scalars(tmp_path)["loss"] == ([1, 2, 3, 4], [8.0, 7.0, 0.5, 0.4])


def test_entries_that_are_no_scalars_are_passed_over(tmp_path):
    write_log(tmp_path, "1", [{"loss": 1.0}, {"note": "text", "step": 1}, {"loss": 2.0, "step": 2}])
    assert read_scalars(tmp_path) == {"loss": ([2], [2.0])}


def test_no_log(tmp_path):
    with pytest.raises(DataError, match=r"no training log found[\s\S]*tools/train.py"):
        read_scalars(tmp_path)


def test_smooth_equals_a_naive_loop():
    values = [5.0, 1.0, 4.0, 4.0, -2.0, 7.0]
    for half, windows in (
        (1, [[5], [5, 1, 4], [1, 4, 4], [4, 4, -2], [4, -2, 7], [7]]),
        (2, [[5], [5, 1, 4], [5, 1, 4, 4, -2], [1, 4, 4, -2, 7], [4, -2, 7], [7]]),
    ):
        assert smooth(values, half) == pytest.approx([sum(w) / len(w) for w in windows])
    assert smooth([], 3) == []
    line = [float(i) for i in range(30)]
    assert smooth(line, 4) == pytest.approx(line)  # no lag


def test_smooth_keeps_gaps():
    got = smooth([1.0, math.nan, 3.0], 1)
    assert got[0] == 1
    assert math.isnan(got[1])
    assert got[2] == 3


def test_curve_of_unequal_lengths():
    with pytest.raises(ValueError, match="curve 'loss': 2 x but 1 y"):
        Curve("c", "loss", [0, 1], [0])


@pytest.mark.parametrize(
    "line", ['{"loss": 4.', "7", '{"loss": 1.0, "step": "x"}', '{"step": 1e30}']
)
def test_a_damaged_line_that_is_not_the_last_is_named(tmp_path, line):
    good = {"loss": 2.0, "step": 2}
    write_log(tmp_path, "1", [good], tail=f"{line}\n{json.dumps(good)}\n")
    with pytest.raises(DataError, match=r"(?s)Line 2: expected numbers.*scalars\.json"):
        read_scalars(tmp_path)


def test_a_log_that_is_no_text(tmp_path):
    write_log(tmp_path, "1", [])
    (tmp_path / "1/vis_data/scalars.json").write_bytes(b"\xe9{}\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_scalars(tmp_path)
