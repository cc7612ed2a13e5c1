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

from lidistill.engine.configs.options import merge_options, read_names
from lidistill.engine.configs.read import load_config, map_strings
from lidistill.engine.configs.shipped import find_config
from lidistill.hooks.run_folder import INFO_FILE, flat_values, read_note

STAGE_PREFIX = "stage://"
_VOLATILE = ("work_dir", "resume", "launcher", "monitor")


def load_stage(
    config: Path, stage: Mapping[str, Any], data_root: str | None = None
) -> tuple[Path, Config]:
    """File and content of one entry of ``stages``.

    Args:
        config: the staged config; stages name files relative to it, or configs of lidistill.
        stage: ``name``, ``config``, and ``options``, dotted keys to replace, where it has some.
        data_root: see :func:`lidistill.engine.configs.read.load_config`.

    Raises:
        ValueError: an option that nothing would read.
    """
    path = find_config(config.parent / stage["config"], stage["config"])
    content = load_config(path, data_root=data_root)
    lazy = stage._to_lazy_dict() if isinstance(stage, ConfigDict) else stage
    classes: dict[str, Any] = {}
    try:
        merge_options(content, _set_aside(dict(lazy.get("options", {})), classes))
    except ValueError as error:
        raise ValueError(f"{config}, stage {stage['name']!r}: {error}") from error
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
        data_root: see :func:`lidistill.engine.configs.read.load_config`.

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
    return hashlib.sha256(_trained(cfg).pretty_text.encode()).hexdigest()[:16]


def trained_values(cfg: Config) -> dict[str, str]:
    """What :func:`fingerprint` hashes, value by value."""
    return flat_values(_trained(cfg))


def _trained(cfg: Config) -> Config:
    kept = copy.deepcopy(cfg)
    for key in (*_VOLATILE, *(["load_from"] if kept.get("load_from") is None else [])):
        kept.pop(key, None)
    return kept


def info_files(cfg: Config, within: str = "train_dataloader.") -> dict[str, str]:
    """Hash of each info file that a training reads, by its name: frames and labels are there.

    A config says the same before and after labels were mended.

    Args:
        cfg: content.
        within: how the dotted keys begin that count; empty for those of the test, too.
    """
    values, found = flat_values(cfg), {}
    for key, name in values.items():
        if key.startswith(within) and key.endswith(".ann_file"):
            root = values.get(f"{key.removesuffix('ann_file')}data_root", "")
            path = next((p for p in (Path(root, name), Path(name)) if p.is_file()), None)
            if path is not None:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[f"{INFO_FILE}{path}"] = digest[:16]
    return found


def fill_stage_checkpoints(cfg: Config, checkpoints: Mapping[str, Path]) -> dict[str, str]:
    """Replace every ``"stage://name"`` of a config by that stage's checkpoint path.

    What nothing reads, such as a list that others of the config's were made from, may name any.

    Returns:
        Fingerprints of the stages that it names, by name, as their folders note them.

    Raises:
        ValueError: a stage is named that has not run before.
    """
    sources: dict[str, str] = {}

    def fill(text: str) -> str:
        if not text.startswith(STAGE_PREFIX):
            return text
        name = text.removeprefix(STAGE_PREFIX)
        if name not in checkpoints:
            read = {"tool", *read_names()}
            places = [key for key, value in flat_values(cfg).items() if value == text]
            keys = [key for key in places if key.partition(".")[0] in read]
            if not keys:
                return text
            raise ValueError(
                f"{text!r} names a stage that has not run; earlier stages: {sorted(checkpoints)}. "
                f"Train {_staged(cfg)}, or name a checkpoint: --cfg-options "
                f"{' '.join(f'{key}=FILE' for key in keys)}"
            )
        for folder in checkpoints[name].parents[:2]:  # what a tool made lies one deeper
            if "config" in (note := read_note(folder)):
                sources[name] = note["config"]
                break  # the run's folder may lie in another run's
        return str(checkpoints[name])

    map_strings(cfg._cfg_dict, fill)
    return sources


def _staged(cfg: Config) -> str:
    """The configs that list this one among their stages, in words."""
    own = Path(cfg.filename) if cfg.filename else None
    beside = sorted(own.parent.glob("*.py")) if own else []
    found = [
        str(path)
        for path in beside
        if "stages" in (text := path.read_text(encoding="utf-8")) and own and own.name in text
    ]
    return " or ".join(found) or "the config that lists its stages"
