# SPDX-License-Identifier: Apache-2.0
"""A whole bank: one file a scene and a manifest; a killed run continues, any number of jobs."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill import io
from lidistill.converters.object_bank.bank import (
    SceneBank,
    frame_tokens,
    read_bank,
    tracks_digest,
    write_bank,
)
from lidistill.converters.object_bank.finish import make_bank
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.tracks import SceneTracks, TrackSource
from lidistill.progress import track

LOGGER = logging.getLogger("lidistill.object_bank")
TOOL = "lidistill object_bank"
BATCH = 8  # scenes of tracks in memory for each job
MEASURED = 2  # scenes that a dry run makes to measure


@dataclass(frozen=True)
class Plan:
    """What a build would do.

    Attributes:
        scenes: of the source.
        done: of them in the bank.
        frames, instances, boxes: of those that are measured.
        points: stored of these.
        measured: scenes.
        bytes_each: mean size of a scene's file.
        seconds_each: one process, reading included.
        free_bytes: on the bank's disk.
    """

    scenes: int
    done: int
    frames: int = 0
    instances: int = 0
    boxes: int = 0
    points: int = 0
    measured: int = 0
    bytes_each: float = 0.0
    seconds_each: float = 0.0
    free_bytes: int = 0

    @property
    def bytes_more(self) -> float:
        """Disk that the rest takes."""
        return (self.scenes - self.done) * self.bytes_each


def scene_path(bank: Path, scene: str) -> Path:
    """File of a scene."""
    return bank / f"{io.plain_name(scene, 'name of a scene')}.npz"


def build_bank(
    source: TrackSource,
    out: str | Path,
    options: BankOptions | None = None,
    jobs: int | None = 1,
    engine: str = "loky",
) -> dict[str, Any]:
    """Make the bank of every scene that is not there yet, or whose tracks have changed since.

    Scenes of several sources with the same settings may share a bank.

    Args:
        source: of tracks.
        out: folder of the bank; made when missing.
        options: how it is made.
        jobs: processes; None takes all cores.
        engine: ``loky``, ``ray`` or ``dask``.

    Returns:
        The report of the whole bank, as in its manifest.

    Raises:
        DataError: the folder holds a bank made with other settings, or a frame cannot be read.
    """
    options, folder = options or BankOptions(), Path(out)
    parameters = {**options.recorded(), "source": source.recorded()}
    _check_bank(folder, parameters)
    folder.mkdir(parents=True, exist_ok=True)
    with io.exclusive(folder, "makes this bank"):
        wanted = source.scenes()
        missing = [name for name in wanted if not _is_done(source, folder, name)]
        if missing:
            io.write_manifest(folder, TOOL, parameters, 0, _source_text(source))
        work = functools.partial(_make, folder=folder, options=options)
        done = _in_batches(source, missing, work, jobs, engine)
        for _ in track(done, "Scenes", total=len(missing)):
            pass
        report = bank_report(folder)
        count = len(scene_names(folder))
        io.write_manifest(folder, TOOL, parameters, count, _source_text(source), {"report": report})
    return report


def _is_done(source: TrackSource, folder: Path, name: str) -> bool:
    """Whether a scene is there, made from the tracks, poses and clouds that the source has now."""
    path = scene_path(folder, name)
    if not path.is_file():
        return False
    same = tracks_digest(path) in (None, source.read(name).digest())
    if not same:
        LOGGER.warning("%s: made again, for its tracks, poses or clouds have changed", name)
    return same


def _in_batches(
    source: TrackSource,
    names: list[str],
    work: Callable[[SceneTracks], None],
    jobs: int | None,
    engine: str,
) -> Iterator[None]:
    """One item a finished scene; the tracks of a few scenes are in memory at a time."""
    size = max(1, jobs or io.available_cpus()) * BATCH
    for start in range(0, len(names), size):
        tracks = (source.read(name) for name in names[start : start + size])
        yield from io.parallel(work, tracks, jobs, engine)


def _make(tracks: SceneTracks, folder: Path, options: BankOptions) -> None:
    """Runs in a worker process."""
    write_bank(scene_path(folder, tracks.name), make_bank(tracks, options))


def scene_names(folder: Path) -> list[str]:
    """Scenes of a bank, by their names."""
    return sorted(path.stem for path in folder.glob("*.npz") if path.name[0] != ".")


def bank_report(folder: Path) -> dict[str, Any]:
    """Sums over the scenes; what each of them notes."""
    total: dict[str, Any] = {}
    notes: dict[str, list[str]] = {}
    for name in scene_names(folder):
        found = read_bank(scene_path(folder, name)).notes
        if found["notes"]:
            notes[name] = found["notes"]
        for key, value in found.items():
            if key == "largest_difference":
                total[key] = max(total.get(key, 0), value)
            elif isinstance(value, int):
                total[key] = total.get(key, 0) + value
    return {**total, "notes": notes}


def plan_bank(source: TrackSource, out: str | Path, options: BankOptions | None = None) -> Plan:
    """Count the work and measure it on a few scenes, writing nothing there."""
    import tempfile
    import time

    options, folder = options or BankOptions(), Path(out)
    _check_bank(folder, {**options.recorded(), "source": source.recorded()})
    wanted = source.scenes()
    missing = [name for name in wanted if not scene_path(folder, name).is_file()]
    chosen = missing[:: max(1, -(-len(missing) // MEASURED))][:MEASURED]
    near = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(near).free
    if not chosen:
        return Plan(len(wanted), len(wanted), free_bytes=free)
    counted = {"frames": 0, "instances": 0, "boxes": 0, "points": 0}
    size, start = 0, time.perf_counter()
    for name in chosen:
        bank = make_bank(source.read(name), options)
        with tempfile.TemporaryDirectory() as place:
            write_bank(Path(place) / "scene.npz", bank)
            size += (Path(place) / "scene.npz").stat().st_size
        found = (len(bank.frame_tokens), len(bank), len(bank.box_frame), len(bank.xyz))
        for key, value in zip(counted, found, strict=True):
            counted[key] += value
    seconds = (time.perf_counter() - start) / len(chosen)
    return Plan(
        len(wanted),
        len(wanted) - len(missing),
        measured=len(chosen),
        bytes_each=size / len(chosen),
        seconds_each=seconds,
        free_bytes=free,
        **counted,
    )


def _source_text(source: TrackSource) -> str:
    return " ".join(f"{key}={value}" for key, value in source.recorded().items())


def _check_bank(folder: Path, parameters: Mapping[str, Any]) -> None:
    if (folder / "manifest.json").is_file():
        old = io.read_manifest(folder)
        if old["parameters"] != parameters:
            raise io.DataError(
                f"This bank was made with {old['parameters']}, now asked for {dict(parameters)}.",
                path=folder,
                fix="give another --out folder, the old settings, or delete this folder.",
            )
    elif folder.is_dir() and scene_names(folder):
        raise io.DataError(
            "There are .npz files in this folder, but no manifest: it is no bank.",
            path=folder,
            fix="give another --out folder.",
        )


class BankReader:
    """A finished bank; scenes are read when asked for, the last few kept.

    Args:
        folder: made by ``lidistill object_bank``.
        keep: scenes in memory.

    Raises:
        DataError: it is no bank, or unfinished.
    """

    def __init__(self, folder: str | Path, keep: int = 4) -> None:
        self.folder = Path(folder)
        fix = f"make it: {TOOL} SOURCE --root DATA_ROOT --out {self.folder} ({TOOL} --help lists "
        fix += "the sources)."
        manifest = io.read_manifest(self.folder, fix) if self.folder.is_dir() else None
        if manifest is None:
            raise io.DataError("No bank there.", path=self.folder, fix=fix)
        if manifest["count"] == 0:
            raise io.DataError(
                "This bank is unfinished.",
                path=self.folder,
                fix="run the command that began it once more; it continues where it stopped.",
            )
        self.parameters: dict[str, Any] = manifest["parameters"]
        self.scenes = scene_names(self.folder)
        self.scene = functools.lru_cache(maxsize=keep)(self._read)
        self._places: dict[str, list[tuple[str, int]]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes read for themselves."""
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def _read(self, name: str) -> SceneBank:
        return read_bank(scene_path(self.folder, name))

    def stamps(self) -> dict[str, list[int]]:
        """Scene -> size and time of its file: whether a bank is still the same."""
        found = {name: scene_path(self.folder, name).stat() for name in self.scenes}
        return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in found.items()}

    def find(self, *tokens: str, scene: str = "") -> tuple[str, int] | None:
        """Scene and frame of the first token that the bank knows; None where it knows none.

        The first call looks through the tokens of all scenes.

        Args:
            tokens: of the frame.
            scene: it is from, where that is known: of frames that are called alike (KITTI's drives
                all have a 000000) the one of this scene is meant.

        Raises:
            DataError: several scenes have a frame of that name, and none of them is ``scene``.
        """
        if self._places is None:
            places: dict[str, list[tuple[str, int]]] = {}
            for name in self.scenes:
                for frame, token in enumerate(frame_tokens(scene_path(self.folder, name))):
                    places.setdefault(token, []).append((name, frame))
            self._places = places
        for token in tokens:
            found = self._places.get(token, [])
            if scene in self.scenes:
                found = [place for place in found if place[0] == scene]
            if len(found) > 1:
                raise io.DataError(
                    f"{len(found)} scenes of this bank have a frame {token}: "
                    f"{', '.join(name for name, _ in found[:5])}.",
                    path=self.folder,
                    token=token,
                    fix="make one bank a drive; or give the frames of the info file a scene_name, "
                    "the scene's name in the bank.",
                )
            if found:
                return found[0]
        return None
