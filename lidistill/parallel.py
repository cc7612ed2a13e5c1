# SPDX-License-Identifier: Apache-2.0
"""One loop over many processes: joblib's engine on this machine or on an existing cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from lidistill.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")

ENGINES = ("loky", "ray", "dask")


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
    work = list(items)
    backend = "loky" if engine == "loky" else _connect(engine)
    return _results(function, work, jobs, backend, description)


def _results(
    function: Callable[[Item], Result],
    work: list[Item],
    jobs: int | None,
    backend: str,
    description: str,
) -> Iterator[Result]:
    if backend == "loky" and (jobs or available_cpus()) == 1:
        results: Iterator[Result] = (function(item) for item in work)
    else:
        results = _joblib_results(function, work, jobs, backend)
    if description:
        yield from track(results, description, total=len(work))
    else:
        yield from results


def _joblib_results(
    function: Callable[[Item], Result], work: list[Item], jobs: int | None, backend: str
) -> Iterator[Result]:
    import joblib

    count = jobs if jobs is not None else (available_cpus() if backend == "loky" else -1)
    with joblib.parallel_config(backend=backend):
        pool = joblib.Parallel(n_jobs=count, return_as="generator")
        yield from pool(joblib.delayed(function)(item) for item in work)


def _connect(engine: str) -> str:
    """Joins the cluster of an engine; returns joblib's name of the backend."""
    try:
        if engine == "ray":
            from ray.util.joblib import register_ray

            register_ray()
            return "ray"
        from dask.distributed import Client, get_client
    except ImportError as error:
        package = "ray" if engine == "ray" else "dask[distributed]"
        raise ImportError(
            f"engine {engine!r} needs the package {package!r}, which is not installed here "
            f"({error}). Run: pip install '{package}', or use --engine loky."
        ) from error
    try:
        get_client()
    except ValueError:
        _keep_alive.append(Client(os.environ.get("DASK_SCHEDULER_ADDRESS")))
    return "dask"


_keep_alive: list[Any] = []  # dask forgets its default client when nobody holds it
