# SPDX-License-Identifier: Apache-2.0
"""Stages of a config: run in order, skip what is finished, hand checkpoints on by name.

A config with stages is one line per stage::

    stages = [
        dict(name="image_teacher", config="demo_teacher.py"),
        dict(name="pretrain", config="demo_pretrain.py"),
        dict(name="permuted", config="demo_pretrain.py", options={"model.permute_regions": True}),
    ]

Inside a later stage's config the string ``"stage://image_teacher"`` stands for the final checkpoint
of that stage.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyAttr, LazyObject

from lidistill.engine.config import load_config, map_strings
from lidistill.io import DataError, read_json, write_json

STAGE_PREFIX = "stage://"
RUN = "run.json"
_VOLATILE = ("work_dir", "resume", "load_from", "launcher", "monitor")


def load_stage(
    config: Path, stage: Mapping[str, Any], data_root: str | None = None
) -> tuple[Path, Config]:
    """File and content of one entry of ``stages``.

    Args:
        config: the staged config; stages name their files relative to it.
        stage: ``name``, ``config``, and ``options``, dotted keys to replace, where it has some.
        data_root: see :func:`lidistill.engine.config.load_config`.
    """
    path = config.parent / stage["config"]
    content = load_config(path, data_root=data_root)
    lazy = stage._to_lazy_dict() if isinstance(stage, ConfigDict) else stage
    classes: dict[str, Any] = {}
    content.merge_from_dict(_set_aside(dict(lazy.get("options", {})), classes))
    map_strings(content._cfg_dict, lambda text: classes.get(text, text))
    return path, content


def stage_names(content: Config) -> list[str]:
    """Names of a config's stages, none for a plain one."""
    return [stage["name"] for stage in content.get("stages") or ()]


def choose_stage(
    config: Path, content: Config, name: str | None = None, data_root: str | None = None
) -> tuple[Path, Config]:
    """One stage of a staged config; of any other, the config itself.

    Args:
        config: the file.
        content: what it holds.
        name: the stage; None for the last.
        data_root: see :func:`lidistill.engine.config.load_config`.

    Raises:
        ValueError: there is no such stage, or there are none.
    """
    stages = {stage["name"]: stage for stage in content.get("stages") or ()}
    if not stages and name is None:
        return config, content
    if name is not None and name not in stages:
        raise ValueError(f"{config} has no stage {name!r}; it has {list(stages)}")
    return load_stage(config, stages[name or list(stages)[-1]], data_root)


def _set_aside(value: Any, classes: dict[str, Any]) -> Any:
    """Names in place of lazy classes: merging imports them, and then a config has no text."""
    if isinstance(value, LazyAttr | LazyObject):
        name = f"class://{value}"
        classes[name] = value
        return name
    if isinstance(value, Mapping):
        return {key: _set_aside(item, classes) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_set_aside(item, classes) for item in value)
    return value


def fingerprint(cfg: Config) -> str:
    """Hash of what a config trains; where it runs, if it resumes, who watches do not count."""
    kept = copy.deepcopy(cfg)
    for key in _VOLATILE:
        kept.pop(key, None)
    return hashlib.sha256(kept.pretty_text.encode()).hexdigest()[:16]


def fill_stage_checkpoints(cfg: Config, checkpoints: Mapping[str, Path]) -> None:
    """Replace every ``"stage://name"`` of a config by that stage's checkpoint path.

    Raises:
        ValueError: a stage is named that has not run before.
    """

    def fill(text: str) -> str:
        if not text.startswith(STAGE_PREFIX):
            return text
        name = text.removeprefix(STAGE_PREFIX)
        if name not in checkpoints:
            raise ValueError(
                f"{text!r} names a stage that has not run; earlier stages: {sorted(checkpoints)}. "
                "Train the staged config, or put a checkpoint path there with --cfg-options"
            )
        return str(checkpoints[name])

    map_strings(cfg._cfg_dict, fill)


def finished_checkpoint(work_dir: Path, key: str) -> Path | None:
    """Final checkpoint of a finished run of this very config, or None.

    Raises:
        ValueError: ``work_dir`` holds a run of another config.
    """
    if not (work_dir / RUN).is_file():
        return None
    content = read_run(work_dir)
    if content.get("config") != key:
        raise ValueError(
            f"{work_dir} holds a run of another config (or of this one before it was changed); "
            "choose another --work-dir, or add --restart to begin anew there"
        )
    checkpoint = content.get("checkpoint")
    return work_dir / checkpoint if checkpoint and (work_dir / checkpoint).is_file() else None


def read_run(work_dir: Path) -> dict[str, Any]:
    """What ``run.json`` says of a training.

    Returns:
        ``config``, its fingerprint; ``wall_s`` and ``process_s``, seconds over all its starts; and
        what else :func:`note_run` was given.

    Raises:
        DataError: there is none, or not one that :func:`note_run` wrote.
    """
    path = work_dir / RUN
    content = read_json(path)
    if not isinstance(content, dict):
        raise _damaged(path, f"it holds a {type(content).__name__}, expected an object")
    content = {"wall_s": 0.0, "process_s": 0.0, **content}
    for name in ("wall_s", "process_s"):
        value = content[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
            raise _damaged(path, f"its {name} is no number of seconds")
    for name in ("config", "checkpoint"):
        if not isinstance(content.get(name, ""), str):
            raise _damaged(path, f"its {name} is a {type(content[name]).__name__}, expected words")
    return content


def _damaged(path: Path, what: str) -> DataError:
    return DataError(
        f"not the note of a training: {what}",
        path=path,
        fix="add --restart to begin anew in this folder, or choose another --work-dir",
    )


def note_run(work_dir: Path, key: str, **facts: Any) -> None:
    """Write ``run.json``: what runs (or ran) in this folder."""
    work_dir.mkdir(parents=True, exist_ok=True)
    write_json(work_dir / RUN, {"config": key, **facts})
