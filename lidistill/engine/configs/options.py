# SPDX-License-Identifier: Apache-2.0
"""``--cfg-options``: values of a config replaced by dotted keys that the config can have."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

ALIKE = 0.8  # of difflib: temprature and temperature 0.95
SHOWN = 12  # names in a message


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words as a dictionary.

    Raises:
        ValueError: for a word that is not ``KEY=VALUE``.
    """
    return dict(_parse_option(option) for option in options)


def merge_options(cfg: Any, options: Mapping[str, Any]) -> None:
    """Replace values of a config in place; keys that nothing would read are refused.

    A key may be new where the class it configures takes an argument of that name.

    Args:
        cfg: mmengine's Config.
        options: dotted key -> value; numbers stand for places in lists.

    Raises:
        ValueError: a key is none of the config's and of no argument, with the nearest names; or a
            section of the config would become a plain value.
    """
    for key, value in options.items():
        _check_key(cfg, key)
        _check_section(cfg, key, value)
    if options:
        cfg.merge_from_dict(dict(options))


def _check_key(cfg: Any, key: str) -> None:
    node: Any = cfg._cfg_dict
    parts = key.split(".")
    for depth, part in enumerate(parts):
        place = ".".join(parts[:depth])
        if isinstance(node, list | tuple):
            if not part.isdigit() or int(part) >= len(node):
                raise ValueError(
                    f"option {key!r}: {place} is a list of {len(node)}; expected a number from 0 "
                    f"to {len(node) - 1} after it, got {part!r}"
                )
            node = node[int(part)]
            continue
        if not isinstance(node, Mapping):
            raise ValueError(
                f"option {key!r}: {place} is {node!r} and has no keys; give it as a whole, "
                f"{place}=\"{{'{part}': ...}}\""
            )
        if part not in node:
            _check_new(node, part, key, place)
            return  # below a new key everything is new
        node = node[part]


def _check_section(cfg: Any, key: str, value: Any) -> None:
    """A section of the config stays one, or becomes None."""
    old = cfg._cfg_dict.get(key)
    if isinstance(old, Mapping) and not (value is None or isinstance(value, Mapping)):
        raise ValueError(
            f"option {key!r}: expected {key}.NAME=VALUE, or a dictionary as a whole, got "
            f"{value!r}; {key} has {', '.join(sorted(map(str, old)))}"
        )


def _check_new(node: Mapping[str, Any], part: str, key: str, place: str) -> None:
    """A key that the config does not have: is it an argument, or a slip?"""
    names, complete = _arguments(node, place)
    if part in names:
        return
    known = [name for name in {**dict.fromkeys(node), **dict.fromkeys(names)} if name != "type"]
    near = difflib.get_close_matches(part, known, n=3, cutoff=ALIKE)
    whole = [f"{place}.{name}" if place else name for name in near]
    if near:
        raise ValueError(f"option {key!r} is no key here; did you mean {' or '.join(whole)}?")
    if complete:
        shown = ", ".join(sorted(known)[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
        raise ValueError(f"option {key!r} is no key here; {place or 'the config'} has {shown}")


def read_names() -> list[str]:
    """Names on a config's first level that a training reads; others help to write the config."""
    from mmengine.runner import Runner

    own = ["monitor", "pretrained", "find_unused_parameters", "model_wrapper_cfg", "env_cfg"]
    return [*inspect.signature(Runner.__init__).parameters, *own]


def _arguments(node: Mapping[str, Any], place: str) -> tuple[list[str], bool]:
    """Arguments of what a dictionary configures, and whether there are no others."""
    if not place:
        return read_names(), True
    if "type" in node:
        kind = _resolve(node["type"])
        names, complete = _signature(kind) if kind is not None else ([], False)
        taken_before = {"optim_wrapper": ("constructor", "paramwise_cfg")}  # by mmengine
        extra = taken_before.get(place, ("priority",) if "hooks." in place else ())
        return [*names, *extra], complete
    if "dataset" in node:
        from torch.utils.data import DataLoader

        return [*inspect.signature(DataLoader.__init__).parameters], False
    return [], False


def _resolve(kind: Any) -> Any:
    if not isinstance(kind, str):
        return kind
    from lidistill.registry import look_up

    try:
        return look_up(kind)
    except ImportError:
        return None


def _signature(kind: Any) -> tuple[list[str], bool]:
    """Argument names of a class and, as long as it hands on ``**kwargs``, of those above it."""
    if not inspect.isclass(kind):
        return _parameters(kind)
    names: list[str] = []
    for owner in kind.__mro__:
        if "__init__" in vars(owner):
            own, complete = _parameters(vars(owner)["__init__"])
            names += own
            if complete:
                return names, owner is not object
    return names, False


def _parameters(function: Any) -> tuple[list[str], bool]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return [], False
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [one.name for one in parameters if one.kind not in kinds and one.name != "self"]
    return names, all(one.kind != inspect.Parameter.VAR_KEYWORD for one in parameters)


def _parse_option(option: str) -> tuple[str, Any]:
    key, sign, value = option.partition("=")
    if not sign or not key:
        raise ValueError(f"expected --cfg-options KEY=VALUE, got {option!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return key, {"true": True, "false": False}.get(value, value)
