# SPDX-License-Identifier: Apache-2.0
"""Trains and scores the lines of a table, and adds up what each result needed."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict
from mmengine.config.lazy import LazyAttr, LazyObject

from lidistill import compat, provenance
from lidistill.engine.configs.overrides import apply_overrides
from lidistill.engine.configs.read import load_config, map_strings
from lidistill.engine.configs.stages import info_files
from lidistill.engine.train import train_one
from lidistill.evidence.plan import Curve, EvidencePlan, Row, slug
from lidistill.evidence.scores import SCORES, Trained
from lidistill.evidence.table import CONFIG, ROW, STAGE, Line, Table
from lidistill.hooks.run_folder import read_run


@dataclass(frozen=True)
class Runs:
    """The trainings of a table.

    A training lies in a folder named after the hash of all that it depends on, so tables share what
    they have in common, and none takes over what another trained in another way.

    Attributes:
        table: whose lines they are.
        folder: of all trainings of all tables.
        hashes: of the lines as they were when the plan was made.
    """

    table: Table
    folder: Path
    hashes: dict[tuple[str, float], str] = field(default_factory=dict)

    def row(self, line: Line) -> Row:
        """A line as the driver runs it."""
        return Row(
            name=line.name,
            run=lambda seed: self.outcome(line, seed),
            twin=line.twin,
            config=self.words(line),
            note=line.note,
            config_hash=self.config_hash(line),
            data=lambda seed: self.data(line, seed),
        )

    def words(self, line: Line) -> str:
        """What a line trains, for the record."""
        parts = [line.config, *(f"{key} = {value}" for key, value in line.changes.items())]
        if line.steps == 0:
            parts.append("not trained")
        elif line.steps != 1 or line.iters or self.table.iters:
            parts.append(f"{iterations(self.config(line))} iterations")
        return ", ".join(parts)

    # -- configs ----------------------------------------------------------------------------------
    def config(self, line: Line) -> Any:
        """A line's config with its changes; checkpoints of other lines are still ``row://name``."""
        cfg = load_config(line.config)
        for key, value in line.changes.items():
            _replace(cfg._cfg_dict, key, _meant(cfg._cfg_dict, value, line), line)
        wanted = line.iters or self.table.iters
        if line.steps and (wanted or line.steps != 1):
            whole = round((wanted or iterations(cfg)) * line.steps)
            apply_overrides(cfg, None, False, {"iters": whole})
        return cfg

    def config_hash(self, line: Line) -> str:
        """Of all that a line is trained with, the lines that it needs included; not of the seed."""
        key = (line.name, line.steps)
        if key not in self.hashes:
            self.hashes[key] = self._hash_now(line)
        return self.hashes[key]

    def _hash_now(self, line: Line) -> str:
        cfg = self.config(line)
        needed = {name: self.config_hash(self.table.line(name)) for name in _needed(cfg)}
        content = {key: value for key, value in dict.items(cfg._cfg_dict) if key != "randomness"}
        plain = json.dumps([_plain(content), needed, line.steps == 0], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:12]

    def data(self, line: Line, seed: int) -> str:
        """Hash of the info files that a line's config names, for training and test."""
        cfg = self.config(line)
        _move_data(cfg, self.table.world.place)
        self.table.world.prepare(cfg, seed)
        found = sorted(info_files(cfg, within="").values())
        return hashlib.sha256("".join(found).encode()).hexdigest()[:12] if found else ""

    # -- running ----------------------------------------------------------------------------------
    def outcome(self, line: Line, seed: int) -> dict[str, Any]:
        """Train what is not trained yet, score, and add up the cost of it all."""
        compat.apply()
        root = self.table.world.root()
        trained = self.trained(line, seed, root)
        begin = time.perf_counter()
        score = SCORES[self.table.score if line.score is None else line.score]
        found = score(trained, self.table.classes)
        scoring_s = time.perf_counter() - begin
        spent = [read_run(folder) for folder in self.folders(line, seed)]
        own = spent[-1] if line.steps else {}
        cost = dict(found.get("cost", {}))
        if own:
            cost["training_s"] = own["process_s"]
        cost["with_stages_s"] = round(sum(run["process_s"] for run in spent), 1)
        wall_s = sum(run["wall_s"] for run in spent) + scoring_s
        commit = provenance.commits(*(run["commit"] for run in spent))
        found |= {"cost": cost, "wall_s": round(wall_s, 1), "commit": commit}
        return {**found, "data": self.data(line, seed)}

    def trained(self, line: Line, seed: int, root: Path) -> Trained:
        """A line's config and checkpoint, trained after the lines that it needs."""
        cfg = self.config(line)
        if self._hash_now(line) != self.config_hash(line):
            raise ValueError(
                f"line {line.name!r}: {line.config} or a file that it reads was changed while the "
                "table runs; start the same command again"
            )
        names = _needed(cfg)
        found = {name: self.trained(self.table.line(name), seed, root) for name in names}
        map_strings(cfg._cfg_dict, lambda text: _filled(text, found))
        _move_data(cfg, root)
        self.table.world.prepare(cfg, seed)
        apply_overrides(cfg, seed, False, {})
        folder = self._folder(line, seed)
        folder.mkdir(parents=True, exist_ok=True)
        final = train_one(cfg, folder, {}, quiet=True) if line.steps else None
        return Trained(cfg, final, folder, root, seed)

    def folders(self, line: Line, seed: int) -> list[Path]:
        """Of everything that was trained for a line, itself last, each once."""
        names = _needed(self.config(line))
        before = [f for name in names for f in self.folders(self.table.line(name), seed)]
        return list(dict.fromkeys([*before, *([self._folder(line, seed)] if line.steps else [])]))

    def _folder(self, line: Line, seed: int) -> Path:
        name = f"{slug(line.name)[:40]}_{self.config_hash(line)}"
        return self.folder / self.table.world.key / f"seed_{seed}" / name


def iterations(cfg: Any) -> int:
    """Of a config's training."""
    return int(cfg.train_cfg.max_iters)


def _filled(text: str, found: Mapping[str, Trained]) -> str:
    return str(found[text.removeprefix(ROW)].checkpoint) if text.startswith(ROW) else text


def _needed(cfg: Any) -> list[str]:
    """Names of the lines whose checkpoints a config wants, in its order."""
    names: list[str] = []

    def look(text: str) -> str:
        if text.startswith(ROW) and text.removeprefix(ROW) not in names:
            names.append(text.removeprefix(ROW))
        return text

    map_strings(cfg._cfg_dict, look)
    return names


def _move_data(cfg: Any, root: Path) -> None:
    """Every path below the config's ``data_root`` to the world."""
    old = str(cfg.get("data_root", "")).rstrip("/")
    new = str(root)

    def move(text: str) -> str:
        return new + text[len(old) :] if text == old or text.startswith(f"{old}/") else text

    if old:
        map_strings(cfg._cfg_dict, move)


def _meant(content: Any, value: Any, line: Line) -> Any:
    """A value of ``changes``, or what stands in the config where it points to."""
    if isinstance(value, str) and value.startswith(CONFIG):
        return copy.deepcopy(_under(content, value.removeprefix(CONFIG), line))
    return value


def _under(content: Any, key: str, line: Line) -> Any:
    """What stands under a dotted key; words that are numbers count in lists."""
    value = content
    for word in key.split("."):
        try:
            value = value[int(word)] if isinstance(value, list | tuple) else _item(value, word)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ValueError(f"line {line.name!r}: {line.config} has no {key!r}") from error
    return value


def _item(value: Any, key: str) -> Any:
    return dict.__getitem__(value, key)  # ConfigDict's own would import classes


def _replace(content: Any, key: str, value: Any, line: Line) -> None:
    """Put a value in the place of what stands under a dotted key, or a new one."""
    parent, _, last = key.rpartition(".")
    place = _under(content, parent, line) if parent else content
    value = ConfigDict(value) if isinstance(value, Mapping) else value
    if isinstance(place, list):
        place[int(last)] = value
    elif isinstance(place, dict):
        dict.__setitem__(place, last, value)
    else:
        raise ValueError(f"line {line.name!r}: {line.config} has no place for {key!r}")


def _plain(value: Any) -> Any:
    """A config's content as JSON takes it; classes and functions by name."""
    if isinstance(value, Mapping):
        content: dict[Any, Any] = dict(dict.items(value))  # type: ignore[arg-type]
        return {str(key): _plain(item) for key, item in content.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, LazyAttr | LazyObject):  # the name that it has at its home
        value = value.build()
    named = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{named}" if named else str(getattr(value, "__name__", value))


def plan_of(table: Table, work_dir: Path) -> EvidencePlan:
    """What is to be run; trainings go into ``<work_dir>/trained``, shared by all tables."""
    runs = Runs(table, work_dir / "trained")
    rows = [
        _curve(runs, line) if line.curve else runs.row(line)
        for line in table.lines
        if line.score != STAGE
    ]
    return EvidencePlan(
        method=table.method,
        dataset=table.world.words,
        metric=table.metric,
        rows=rows,
        seeds=table.seeds,
        protocol=table.protocol,
        teacher=table.teacher,
        kind=table.kind,
        choices=table.choices,
    )


def _curve(runs: Runs, line: Line) -> Curve:
    return Curve(line.name, lambda factor: runs.row(line.at(factor)), line.curve, line.twin)
