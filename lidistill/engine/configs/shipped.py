# SPDX-License-Identifier: Apache-2.0
"""The configs that come with lidistill: found by name, listed, copied to be edited.

In a checkout they stand beside the package, in ``configs/``; a wheel carries them inside it, as
``lidistill/configs/``. A name is a path there, with or without ``configs/`` and ``.py``.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from lidistill.io import DataError, atomic_write, read_text
from lidistill.provenance import CHECKOUT

BASES = "_base_"
_RELATIVE = re.compile(r"^(\s*from )(\.+)([\w.]*)( import .*)$", re.MULTILINE)
_STAGE = re.compile(r"""(\bconfig=)(["'])([^"':]+\.py)\2""")


def shipped_configs() -> Path:
    """Folder of the configs that come with this lidistill."""
    inside = CHECKOUT / "lidistill" / "configs"
    return inside if inside.is_dir() else CHECKOUT / "configs"


def find_config(*wishes: str | Path) -> Path:
    """A config's file, by its path or by the name of one that comes with lidistill.

    Args:
        wishes: ``configs/slidr/demo.py``, ``slidr/demo`` or any file; the first that exists counts,
            files before names.

    Raises:
        FileNotFoundError: there is none, with the nearest names.
    """
    for wish in wishes:
        if Path(wish).is_file():
            return Path(wish)
    for wish in wishes:
        found = _by_name(Path(wish))
        if found is not None:
            return found
    near = _nearest(Path(wishes[0]))
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise FileNotFoundError(
        f"expected a config file, or the name of one that comes with lidistill, found no "
        f"{wishes[0]}; {hint}`lidistill config list` shows them"
    )


def _by_name(wish: Path) -> Path | None:
    name = Path(os.path.normpath(wish))
    if name.is_absolute() or not name.name or name.parts[0] == "..":
        return None
    if name.parts[0] == "configs":
        name = name.relative_to("configs")
    for candidate in (name, Path(f"{name}.py")):
        if (shipped_configs() / candidate).is_file():
            return shipped_configs() / candidate
    return None


def _nearest(wish: Path) -> list[str]:
    names = [name for name, _ in list_configs()]
    asked = wish.as_posix().removeprefix("configs/").removesuffix(".py")
    near = difflib.get_close_matches(asked, names, n=3, cutoff=0.5)
    return near or [name for name in names if Path(name).name == Path(asked).name][:3]


def list_configs() -> Iterator[tuple[str, str]]:
    """Name and first sentence of every config that can be trained; bases are left out."""
    for path in sorted(shipped_configs().rglob("*.py")):
        name = path.relative_to(shipped_configs()).with_suffix("")
        if BASES not in name.parts:
            words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            yield name.as_posix(), " ".join(words.split("\n\n")[0].split())


def copy_config(name: str | Path, target: Path) -> Path:
    """Copy a config so that it can be edited and stand anywhere.

    Its bases and stages stay lidistill's: relative imports become imports of ``lidistill.configs``.

    Args:
        name: of the config.
        target: file to write, or a folder that exists.

    Returns:
        The file.

    Raises:
        FileNotFoundError: there is no such config.
        FileExistsError: the target exists.
        DataError: the config is no text, or empty.
    """
    source = find_config(name)
    target = target / source.name if target.is_dir() else target
    if target.exists():
        raise FileExistsError(
            f"expected a new file, {target} exists; name another: lidistill config copy NAME FILE"
        )
    text = read_text(source)
    if not text.strip():
        raise DataError("Expected a config, found a file without text.", path=source)
    if source.is_relative_to(shipped_configs()):
        text = _standalone(text, source.relative_to(shipped_configs()).parent)
    with atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def _standalone(text: str, folder: Path) -> str:
    """A config of ``folder`` (relative to all configs) in words that hold in any folder."""

    def base(found: re.Match[str]) -> str:
        start, dots, module, end = found.groups()
        above = folder.parts[: len(folder.parts) - len(dots) + 1]
        return start + ".".join(["lidistill", "configs", *above, module]) + end

    def stage(found: re.Match[str]) -> str:
        key, quote, file = found.groups()
        shipped = os.path.normpath(folder / file)
        known = (shipped_configs() / shipped).is_file()
        return f"{key}{quote}{Path(shipped).as_posix() if known else file}{quote}"

    return _STAGE.sub(stage, _RELATIVE.sub(base, text))
