# SPDX-License-Identifier: Apache-2.0
"""The folder of one training: what runs there, which of its files are the run's, what may go.

``run.json`` names what is trained (``config``, a hash), what the stages that it took checkpoints
from trained (``sources``), how it ended, and under ``wrote`` every file and folder that the run
made. ``--restart`` removes these and nothing else.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from lidistill.io import DataError, read_json, write_json
from lidistill.io.checkpoints import archive_fault
from lidistill.io.locks import LOCK_FILE

NOTE = "run.json"
VALUES = "run_config.json"
WROTE = "wrote"
SOURCES = "sources"
INFO_FILE = "info file "
"""Before the name of a source that is no stage."""
SHOWN = 8  # names or keys in a message


def read_note(work_dir: Path) -> dict[str, Any]:
    """Content of ``run.json``, nothing where there is none.

    Raises:
        DataError: it is damaged, or not what a run writes.
    """
    path = work_dir / NOTE
    if not path.is_file():
        return {}
    fix = f"choose another --work-dir; if no run in {work_dir} is of use any more, remove it."
    note = read_json(path, fix=fix)
    wrong = _wrong_in(note)
    if wrong:
        raise DataError(f"Not the note of a training: {wrong}.", path=path, fix=fix)
    _check_plain(note.get(WROTE, []), path)
    return dict(note)


def read_run(work_dir: Path) -> dict[str, Any]:
    """What ``run.json`` says of a training.

    Returns:
        ``config``, its fingerprint; ``wall_s`` and ``process_s``, seconds over all its starts;
        ``commit``, of the code of these; and what else :func:`note_run` was given.

    Raises:
        DataError: there is none, or not one that :func:`note_run` wrote.
    """
    read_json(work_dir / NOTE)  # raises where there is none
    return {"wall_s": 0.0, "process_s": 0.0, "commit": "", **read_note(work_dir)}


def _wrong_in(note: Any) -> str:
    """What keeps ``note`` from being one of a run."""
    if not isinstance(note, dict):
        return f"it holds a {type(note).__name__}, expected an object"
    for name in ("config", "checkpoint", "made", "commit"):
        if not isinstance(note.get(name, ""), str):
            return f"its {name} is a {type(note[name]).__name__}, expected words"
    if not isinstance(note.get(SOURCES, {}), dict):
        return f"its {SOURCES} are a {type(note[SOURCES]).__name__}, expected an object"
    for name in ("wall_s", "process_s"):
        value = note.get(name, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
            return f"its {name} is no number of seconds"
    names = note.get(WROTE, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return f"{WROTE!r} is no list of names"
    return ""


def _check_plain(names: list[str], path: Path) -> None:
    """Names in the folder itself, not paths.

    Raises:
        DataError: one is a path; nothing outside of the folder is ever touched.
    """
    for name in names:
        if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
            raise DataError(
                f"Expected names of files in this folder under {WROTE!r}, got {name!r}.",
                path=path,
                fix="nothing was removed; correct the file, or remove the folder yourself.",
            )


def note_run(
    work_dir: Path,
    key: str,
    values: Mapping[str, str] | None = None,
    sources: Mapping[str, str] | None = None,
    **facts: Any,
) -> None:
    """Write ``run.json``: what runs (or ran) in this folder; what it wrote before stays noted.

    Args:
        work_dir: made if it is missing.
        key: fingerprint of the config.
        values: the config's values by dotted key, for the message of a later start of another.
        sources: fingerprints of the stages that it takes checkpoints from and hashes of its info
            files, by their names.
        facts: of the end of the run.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    wrote = read_note(work_dir).get(WROTE, [])
    new = _not_there(work_dir, (NOTE, VALUES), wrote)
    taken = {SOURCES: dict(sources)} if sources else {}
    write_json(work_dir / NOTE, {"config": key, **taken, **facts, WROTE: [*wrote, *new]})
    if values is not None and VALUES in (*wrote, *new):
        write_json(work_dir / VALUES, dict(values))


def note_written(work_dir: Path, *names: str, there: bool = False) -> None:
    """Note names that a run, or a test of its checkpoint, is about to write into its folder.

    What lies there already is somebody else's and is not noted. Nothing happens in a folder
    without a run.

    Args:
        work_dir: of the run.
        names: of files and folders in it.
        there: they were made just now.
    """
    note = read_note(work_dir)
    if not note:
        return
    wrote = note.get(WROTE, [])
    new = [name for name in names if name not in wrote]
    new = new if there else _not_there(work_dir, new, wrote)
    if new:
        write_json(work_dir / NOTE, {**note, WROTE: [*wrote, *new]})


def refuse_foreign(work_dir: Path) -> None:
    """``--restart`` is for folders of a run.

    Raises:
        DataError: the folder has files, but no run wrote there.
    """
    entries = sorted(_entries(work_dir))
    note = read_note(work_dir)
    if not entries or WROTE in note:
        return
    shown = ", ".join(entries[:SHOWN]) + (", ..." if len(entries) > SHOWN else "")
    what = "was written by a lidistill that did not note its files" if note else "is not there"
    raise DataError(
        f"Expected a folder of lidistill's for --restart, got {len(entries)} files and folders "
        f"({shown}), and {NOTE}, which would say what may be removed, {what}.",
        path=work_dir,
        fix="choose another --work-dir, or remove by hand what is not needed; nothing was removed.",
    )


def clear(work_dir: Path) -> list[str]:
    """Remove what a run noted as its own, and say so; of a link the link alone.

    Returns:
        The names that were removed.
    """
    refuse_foreign(work_dir)
    names = [name for name in read_note(work_dir).get(WROTE, []) if name != NOTE]
    removed = [name for name in names if _remove(work_dir / name)]
    for name in names:  # what a kill left of a file that was being written
        part = Path(name)
        for leftover in work_dir.glob(f".{part.stem}.tmp*{part.suffix}"):
            removed += [leftover.name] if _remove(leftover) else []
    if _remove(work_dir / NOTE):  # last: until then a second try knows what is left
        removed.append(NOTE)
    if removed:
        stays = sorted(_entries(work_dir))
        kept = f"; {len(stays)} others stay ({', '.join(stays[:SHOWN])})" if stays else ""
        sys.stderr.write(
            f"--restart removed {len(removed)} files and folders of the run in {work_dir}: "
            f"{', '.join(removed)}{kept}\n"
        )
    return removed


def finished_checkpoint(
    work_dir: Path,
    key: str,
    values: Mapping[str, str],
    sources: Mapping[str, str] | None = None,
) -> Path | None:
    """Final checkpoint of a finished run of this very config, or None.

    A start that left no checkpoint blocks nothing: there is nothing to lose.

    Args:
        work_dir: of the run.
        key: fingerprint of the config.
        values: the config's values by dotted key.
        sources: fingerprints of the stages that it takes checkpoints from and hashes of its info
            files, by their names.

    Raises:
        ValueError: ``work_dir`` holds a run of another config, or one that took checkpoints of
            stages that were trained otherwise than they are now.
    """
    note = read_note(work_dir)
    latest = latest_checkpoint(work_dir)
    if not note or latest is None:
        return None
    if note.get("config") != key:
        raise ValueError(
            f"{work_dir} holds a run of another config (or of this one before it was changed)"
            f"{_differences(work_dir, values)}; choose another --work-dir, or add --restart to "
            "begin anew there. To train on from its weights with these settings: another "
            f"--work-dir and --cfg-options load_from={latest} (iterations count from 0)"
        )
    _refuse_other_sources(work_dir, note, sources or {})
    checkpoint = note.get("checkpoint")
    return work_dir / checkpoint if checkpoint and (work_dir / checkpoint).is_file() else None


def finished_output(
    work_dir: Path,
    key: str,
    values: Mapping[str, str],
    sources: Mapping[str, str] | None = None,
) -> Path | None:
    """What a tool of this very config made in the folder; None where it did not end.

    Args:
        work_dir: of the stage.
        key: fingerprint of the config.
        values: the config's values by dotted key.
        sources: fingerprints of the stages that it takes checkpoints from and hashes of its info
            files, by their names.

    Raises:
        ValueError: ``work_dir`` holds what another config made, or what was made from other
            stages than those of now.
    """
    note = read_note(work_dir)
    if note and note.get("config") != key:
        raise ValueError(
            f"{work_dir} holds what another config made (or this one before it was changed)"
            f"{_differences(work_dir, values)}; choose another --work-dir, or add --restart to "
            "make it anew there"
        )
    _refuse_other_sources(work_dir, note, sources or {})
    made = note.get("made")
    return work_dir / made if made and (work_dir / made).exists() else None


def _refuse_other_sources(work_dir: Path, note: Mapping[str, Any], now: Mapping[str, str]) -> None:
    """A stage goes with those that it was made from; a note that names none blocks nothing."""
    before = note.get(SOURCES, {})
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    stages = [name for name in changed if not name.startswith(INFO_FILE)]
    if changed:
        words = "trained with other settings than now" if stages else "which is another now"
        raise ValueError(
            f"{work_dir} was made from {' and '.join(stages or changed)}, {words}; remove it, and "
            "the same command makes it anew, or choose another --work-dir"
        )


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest ``iter_*.pth`` in ``work_dir``; None if there is none.

    mmengine's own ``last_checkpoint`` note is not trusted: a kill can leave it empty or behind.
    """
    found = {
        int(path.stem.removeprefix("iter_")): path
        for path in Path(work_dir).glob("iter_*.pth")
        if path.stem.removeprefix("iter_").isdigit()
    }
    return found[max(found)] if found else None


def refuse_damaged(checkpoint: Path) -> None:
    """A training goes on from a whole file only.

    Raises:
        DataError: The file is damaged; says from which one the training can go on.
    """
    fault = archive_fault(checkpoint)
    if fault is None:
        return
    others = [path for path in checkpoint.parent.glob("iter_*.pth") if path != checkpoint]
    raise DataError(
        f"The newest checkpoint of this run is damaged: {fault}.",
        path=checkpoint,
        fix="remove it; the same command then "
        + ("goes on from the one before." if others else "begins anew."),
    )


def flat_values(node: Any, key: str = "") -> dict[str, str]:
    """Every value of a config as text, by its dotted key; classes by their names."""
    lazy = getattr(node, "_cfg_dict", node)
    if isinstance(lazy, Mapping):
        items: Iterator[tuple[Any, Any]] = iter(dict.items(lazy))  # type: ignore[arg-type]
    elif isinstance(lazy, list | tuple) and any(isinstance(one, Mapping) for one in lazy):
        items = iter(enumerate(lazy))
    else:
        # not getattr: a class that mmengine has yet to import has every attribute
        return {key: lazy.__qualname__ if isinstance(lazy, type | FunctionType) else str(lazy)}
    flat: dict[str, str] = {}
    for name, value in items:
        flat |= flat_values(value, f"{key}.{name}" if key else str(name))
    return flat


def _differences(work_dir: Path, values: Mapping[str, str]) -> str:
    """``: train_dataloader.batch_size is 4 there, 2 here``, as far as it is known."""
    path = work_dir / VALUES
    before = read_json(path) if path.is_file() else None
    if not isinstance(before, dict):
        return ""
    keys = [key for key in {**before, **values} if before.get(key) != values.get(key)]
    words = [
        f"{key} is {before.get(key, 'not set')} there, {values.get(key, 'not set')} here"
        for key in keys[:SHOWN]
    ]
    more = f", and {len(keys) - SHOWN} more keys" if len(keys) > SHOWN else ""
    return f": {', '.join(words)}{more}" if words else ""


def _entries(work_dir: Path) -> Iterator[str]:
    """Names in the folder, but for the lock."""
    for path in work_dir.iterdir() if work_dir.is_dir() else ():
        if path.name != LOCK_FILE:
            yield path.name


def _not_there(work_dir: Path, names: tuple[str, ...] | list[str], wrote: list[str]) -> list[str]:
    """Those names that nobody uses yet."""
    return [name for name in names if name not in wrote and not os.path.lexists(work_dir / name)]


def _remove(path: Path) -> bool:
    """Remove a file, a folder, or a link (never what it points to); whether there was one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        return False
    return True
