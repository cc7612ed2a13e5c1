# SPDX-License-Identifier: Apache-2.0
"""One loop over many processes: joblib's engine on this machine or on an existing cluster."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from lidistill.interrupts import follow_parent
from lidistill.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")

ENGINES = ("loky", "ray", "dask")
RAY_CHUNK = 256  # items between two moves of the progress bar


def available_cpus() -> int:
    """Returns how many CPU cores this process may use (cgroup and affinity aware on Linux)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int | None = None,
    engine: str = "loky",
    description: str = "",
) -> Iterator[Result]:
    """Applies a function to every item in worker processes; yields results in the items' order.

    Args:
        function: A picklable function of one item.
        items: What to work on.
        jobs: Worker processes; 1 runs in this process; None takes every core of the machine (or of
            the cluster).
        engine: ``loky`` (processes here), ``ray`` or ``dask`` (an existing cluster, found as those
            tools find it: ``RAY_ADDRESS``, ``DASK_SCHEDULER_ADDRESS``).
        description: Text of the progress bar; empty shows none.

    Returns:
        An iterator of results. Work starts when it is first read.

    Raises:
        ValueError: Unknown engine or a non-positive number of jobs.
        ImportError: The engine's package is not installed; says how to install it.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}.")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected a number of processes >= 1, got {jobs}.")
    if engine != "loky":
        _require(engine)
    return _results(function, list(items), jobs, engine, description)


def _results(
    function: Callable[[Item], Result],
    work: list[Item],
    jobs: int | None,
    engine: str,
    description: str,
) -> Iterator[Result]:
    if engine == "loky" and (jobs or available_cpus()) == 1:
        results: Iterator[Result] = (function(item) for item in work)
    else:
        results = _joblib_results(function, work, jobs, engine)
    if description:
        yield from track(results, description, total=len(work))
    else:
        yield from results


def _joblib_results(
    function: Callable[[Item], Result], work: list[Item], jobs: int | None, engine: str
) -> Iterator[Result]:
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    count = jobs if jobs is not None else (available_cpus() if engine == "loky" else -1)
    own: dict[str, Any] = {}
    if engine == "loky":  # workers follow from their start on, not from their first item on
        own = {"initializer": follow_parent, "initargs": (os.getpid(),)}
    try:
        with _cluster(engine), joblib.parallel_config(backend=engine):
            if engine != "ray":
                pool = joblib.Parallel(n_jobs=count, return_as="generator", **own)
                yield from pool(joblib.delayed(function)(item) for item in work)
                return
            pool = joblib.Parallel(n_jobs=count)  # ray's backend hands over whole lists only
            for start in range(0, len(work), RAY_CHUNK):
                chunk = work[start : start + RAY_CHUNK]
                yield from pool(joblib.delayed(function)(item) for item in chunk)
    except TerminatedWorkerError as error:
        raise ChildProcessError(
            "a worker process was ended by the system, most often because memory ran out; what is "
            f"finished is kept: run the same command again with fewer --jobs than {count}"
        ) from error


def _require(engine: str) -> None:
    """Raises ImportError, with the command that mends it, when an engine's package is missing."""
    package = {"ray": "ray", "dask": "dask[distributed]"}[engine]
    try:
        importlib.import_module({"ray": "ray.util.joblib", "dask": "distributed"}[engine])
    except ImportError as error:
        raise ImportError(
            f"engine {engine!r} needs the package {package!r}, which is not installed here "
            f"({error}). Run: pip install '{package}', or use --engine loky."
        ) from error


@contextlib.contextmanager
def _cluster(engine: str) -> Iterator[None]:
    """Joins the cluster of an engine while the loop runs."""
    if engine == "ray":
        from ray.util.joblib import register_ray

        register_ray()
    if engine != "dask":
        yield
        return
    from dask.distributed import Client, get_client

    try:
        get_client()  # the caller's own
    except ValueError:
        with Client(os.environ.get("DASK_SCHEDULER_ADDRESS")):
            yield
    else:
        yield
