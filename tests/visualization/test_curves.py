# SPDX-License-Identifier: Apache-2.0
import json

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
    values = [5.0, 1.0, 4.0, 4.0, -2.0]
    for i, got in enumerate(smooth(values, 0.6)):
        weights = [0.6 ** (i - j) for j in range(i + 1)]
        expected = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert got == pytest.approx(expected)
    assert smooth([]) == []
    assert smooth([3.0, 3.0]) == pytest.approx([3.0, 3.0])


def test_curve_of_unequal_lengths():
    with pytest.raises(ValueError, match="curve 'loss': 2 x but 1 y"):
        Curve("c", "loss", [0, 1], [0])
