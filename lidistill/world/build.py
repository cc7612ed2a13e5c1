# SPDX-License-Identifier: Apache-2.0
"""Generate a world: scenes as independent jobs, resumable, byte-identical by seed."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lidistill.io import (
    DataError,
    exclusive,
    manifest_path,
    read_json,
    write_json,
    write_manifest,
)
from lidistill.io.manifest import read_manifest
from lidistill.progress import track
from lidistill.world.presets import get_preset

LAYOUTS = ("nuscenes", "kitti")
GENERATOR = 1  # raised when the same seed gives other bytes
WORK = ".unfinished"
TOOL = "lidistill world"


def generate(
    out: str | Path,
    layout: str = "nuscenes",
    preset: str = "small",
    seed: int = 0,
    jobs: int = 2,
) -> None:
    """Generate the embedded world under ``out/nuscenes`` and / or ``out/kitti``.

    A finished world of the same preset and seed is left alone; an interrupted one is continued and
    ends byte-identical to an undisturbed run, whatever the number of jobs.

    Args:
        out: folder to write to.
        layout: ``nuscenes``, ``kitti`` or ``both``.
        preset: a key of :data:`lidistill.world.presets.PRESETS`.
        seed: non-negative seed of everything that is drawn.
        jobs: threads; the kernels do not hold the interpreter's lock.

    Raises:
        ValueError: unknown layout or preset, negative seed, or no job.
        DataError: ``out`` holds another world.
    """
    if layout not in (*LAYOUTS, "both"):
        raise ValueError(f"expected a layout out of nuscenes, kitti, both; got {layout!r}")
    if seed < 0 or jobs < 1:
        raise ValueError(f"expected a seed >= 0 and jobs >= 1, got seed {seed} and jobs {jobs}")
    sizes = get_preset(preset)
    for name in LAYOUTS if layout == "both" else (layout,):
        parameters = {
            "layout": name,
            "preset": preset,
            "seed": seed,
            "generator": GENERATOR,
            "size": _plain(asdict(getattr(sizes, name))),
        }
        _generate_layout(Path(out) / name, parameters, jobs)


def _plain(value: Any) -> Any:
    """The value as it comes back from JSON (tuples become lists)."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _generate_layout(root: Path, parameters: dict[str, Any], jobs: int) -> None:
    if _finished(root, parameters):
        return
    work = root / WORK
    with exclusive(work, "makes this world"):
        if _finished(root, parameters):  # by the process that was waited for
            return
        write_json(work / "parameters.json", parameters)
        if parameters["layout"] == "nuscenes":
            from lidistill.world.layouts.nuscenes_job import NuScenesJob as Job
        else:
            from lidistill.world.layouts.kitti_job import KittiJob as Job  # type: ignore[assignment]
        job = Job(root, parameters["preset"], parameters["seed"])
        _run_scenes(job, work, jobs, f"World, {parameters['layout']} {parameters['preset']}")
        job.finish([read_json(work / f"{name}.json") for name in job.scenes])
        write_manifest(root, TOOL, parameters, len(job.scenes), f"seed {parameters['seed']}")
        _remove(work)


def _finished(root: Path, parameters: dict[str, Any]) -> bool:
    """Whether this very world is complete; raises where another one is in the way.

    Another process may begin or end this world meanwhile.
    """
    started = root / WORK / "parameters.json"
    begun, done = _marks(root)
    if done:
        found = read_manifest(root, f"delete this world and make it again: rm -r {root}")[
            "parameters"
        ]
    elif begun:
        try:
            found = read_json(started, f"start again: rm -r {root / WORK}")
        except DataError:
            if started.exists():
                raise
            return _finished(root, parameters)  # it was ended since
    elif root.exists() and any(True for _ in _foreign(root)):
        if any(_marks(root)):  # they are of a process that began since
            return _finished(root, parameters)
        raise DataError(
            "expected an empty folder or a world of lidistill, got a folder with other content",
            path=root,
            fix="choose another --out",
        )
    else:
        return False
    if not isinstance(found, dict):
        raise DataError(
            f"expected the parameters of a world, got {type(found).__name__}",
            path=manifest_path(root) if done else started,
            fix=f"delete this world and make it again: rm -r {root}",
        )
    if found != parameters:
        have, want = (
            ", ".join(f"{k} {p.get(k)}" for k in ("preset", "seed", "generator"))
            for p in (found, parameters)
        )
        raise DataError(
            f"expected a world with {want}, got one with {have}",
            path=root,
            fix=f"choose another --out, or delete it: rm -r {root}",
        )
    if done:
        _remove(root / WORK)
    return done


def _marks(root: Path) -> tuple[bool, bool]:
    """Whether a world was begun, and whether it is complete.

    In this order: what ends between the two looks has its manifest.
    """
    return (root / WORK / "parameters.json").exists(), (root / "manifest.json").exists()


def _foreign(root: Path) -> Iterator[Path]:
    """What lies in a folder where no world was begun, but for the lock of a process that begins."""
    for path in root.iterdir():
        if path.name != WORK:
            yield path
        else:
            yield from (one for one in path.iterdir() if not one.name.startswith("."))


def _remove(work: Path) -> None:
    """Remove the records and the lock; whatever else somebody put there stays."""
    for path in [*work.glob("*.json"), *work.glob(".*")]:
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):  # a process that waits may put its lock there at this moment
        work.rmdir()


def _run_scenes(job: Any, work: Path, jobs: int, description: str) -> None:
    """Write all scenes without a record yet; a record appears when all files of a scene exist."""
    open_scenes = [
        number
        for number, name in enumerate(job.scenes)
        if not _is_record(work / f"{name}.json", job.record_keys)
    ]
    if not open_scenes:
        return
    ticks: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def report() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        ticks.put(None)

    def one(number: int) -> None:
        try:
            write_json(work / f"{job.scenes[number]}.json", job.write_scene(number, report))
            ticks.put(StopIteration())
        except BaseException as error:
            ticks.put(error)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for number in open_scenes:
                pool.submit(one, number)
            total = len(open_scenes) * job.captures
            for _ in track(_ticks(ticks, len(open_scenes)), description, total=total):
                pass
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _is_record(path: Path, keys: Collection[str]) -> bool:
    """Whether a scene's record is there and whole; a damaged one is made again with its scene."""
    try:
        record = read_json(path)
    except DataError:
        return False
    return isinstance(record, dict) and record.keys() == set(keys)


def _ticks(ticks: queue.SimpleQueue[BaseException | None], scenes: int) -> Iterator[None]:
    """Yield once per capture until all scenes are done; raise a scene's error."""
    while scenes:
        tick = ticks.get()
        if tick is None:
            yield None
        elif isinstance(tick, StopIteration):
            scenes -= 1
        else:
            raise tick


Report = Callable[[], None]
