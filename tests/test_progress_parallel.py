# SPDX-License-Identifier: Apache-2.0
"""Progress bars and the parallel loop: order, errors, engines."""

from __future__ import annotations

import importlib.util
import os
import sys
import types

import pytest

from lidistill import progress
from lidistill.io import DataError, parallel
from lidistill.progress import Lines, track


def _square(value: int) -> int:
    return value * value


def _fail(value: int) -> int:
    if value == 3:
        raise DataError("Bad.", path="x.bin", token="t3", fix="run q")
    return value


def _process(_: int) -> int:
    return os.getpid()


def test_track_passes_items_and_closes_with_one_line(capsys: pytest.CaptureFixture) -> None:
    assert list(track(range(5), "Count")) == [0, 1, 2, 3, 4]
    assert list(track((i for i in range(2)), "Generated", total=2)) == [0, 1]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" done")[0] for line in lines] == ["Count: 5", "Generated: 2"]


def test_long_work_says_where_it_is_where_no_bar_can_be_drawn(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    for _ in track(range(10), "Count"):
        now[0] += 8.0
    lines = Lines("Goes on", total=100, begin=80)
    now[0] += 100.0
    lines.update(80)  # nothing done yet: nobody knows how long it takes
    lines.update(90)
    Lines("Endless", None, every=0.0).update(3)
    assert capsys.readouterr().err.splitlines() == [
        "Count: 4 of 10, about 48 s left",
        "Count: 8 of 10, about 16 s left",
        "Count: 10 done in 80.0 s",
        "Goes on: 90 of 100, about 100 s left",
        "Endless: 3",
    ]


def test_inner_loop_is_silent(capsys: pytest.CaptureFixture) -> None:
    for _ in track(range(2), "Outer"):
        assert list(track(range(3), "Inner")) == [0, 1, 2]
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(ZeroDivisionError):
        list(track((1 // value for value in (1, 0)), "Broken"))
    list(track(range(2), "After"))
    assert "After" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", [1, 2, None])
def test_results_in_order(jobs: int | None) -> None:
    assert list(parallel(_square, range(10), jobs=jobs)) == [i * i for i in range(10)]


def test_one_job_stays_here_two_do_not() -> None:
    assert set(parallel(_process, range(3), jobs=1)) == {os.getpid()}
    assert os.getpid() not in set(parallel(_process, range(3), jobs=2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_error_of_a_worker_arrives_whole(jobs: int) -> None:
    with pytest.raises(DataError, match=r"(?s)Bad.*x\.bin.*t3.*run q"):
        list(parallel(_fail, range(6), jobs=jobs))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="loky, ray, dask"):
        parallel(_square, [1], engine="spark")
    with pytest.raises(ValueError, match=">= 1"):
        parallel(_square, [1], jobs=0)


@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_missing_engine_says_how_to_get_it(engine: str) -> None:
    if importlib.util.find_spec("ray" if engine == "ray" else "distributed"):
        pytest.skip(f"{engine} is installed here")
    with pytest.raises(ImportError, match=rf"pip install.*{engine}"):
        parallel(_square, [1], engine=engine)


def test_dask_cluster() -> None:
    pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster):
        assert list(parallel(_square, range(5), jobs=2, engine="dask")) == [0, 1, 4, 9, 16]


def test_backend_that_hands_over_lists_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's: it has no generators, so work goes to it in chunks. A stand-in takes its place."""
    import joblib
    from joblib._parallel_backends import ThreadingBackend

    class Lists(ThreadingBackend):
        supports_return_generator = False

    module = types.ModuleType("ray.util.joblib")
    module.register_ray = lambda: joblib.register_parallel_backend("ray", Lists)  # type: ignore[attr-defined]
    for name in ("ray", "ray.util"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "ray.util.joblib", module)
    monkeypatch.setattr("lidistill.parallel.RAY_CHUNK", 3)
    assert list(parallel(_square, range(8), jobs=2, engine="ray")) == [i * i for i in range(8)]
