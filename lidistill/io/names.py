# SPDX-License-Identifier: Apache-2.0
"""Names from files of others: they may not lead out of the folder they belong to."""

from __future__ import annotations

import re
from pathlib import Path

from lidistill.io.errors import DataError, PathLike

MAX_NAME = 200
"""Longest token used as a file name, in bytes: leaves room for a suffix below the usual 255."""

_DIGITS = re.compile(r"(\d+)", re.ASCII)
_FIX = "this file would leave its folder: do not use it unless you know who made it; mend the name."


def inside(root: PathLike, name: object, what: str = "file") -> Path:
    r"""Joins a relative name below a folder.

    Args:
        root: The folder.
        name: Relative name; ``\`` is taken as ``/``.
        what: For the error message, e.g. ``"image"``.

    Raises:
        DataError: The name is no text, is empty or absolute, has a drive letter, ``..``, a NUL byte
            or a part of more than 255 bytes.
    """
    text = name.replace("\\", "/") if isinstance(name, str) else ""
    parts = text.split("/")
    wrong = (
        not text.strip("/. ")
        or text.startswith("/")
        or ".." in parts
        or "\0" in text
        or re.match(r"[A-Za-z]:", text) is not None
        or any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts)
    )
    if wrong:
        raise DataError(
            f"Expected the name of a {what} below this folder, got {_short(name)}.",
            path=root,
            fix=_FIX,
        )
    return Path(root, text)


def plain_name(text: object, what: str, where: PathLike | None = None) -> str:
    """Returns a token or key that can be a file name: one part of a path, not hidden.

    Args:
        text: The token.
        what: For the error message, e.g. ``"scene token"``.
        where: The file that says so, or the folder that it would lie in.

    Raises:
        DataError: It is no text, empty, longer than 200 bytes, begins with a dot, or holds a
            separator or control character.
    """
    if (
        not isinstance(text, str)
        or not text.strip()
        or text.startswith(".")
        or re.search(r"[/\\\x00-\x1f\x7f]", text)
        or len(text.encode("utf-8", "surrogatepass")) > MAX_NAME
    ):
        raise DataError(
            f"Expected a {what} that can be a file name (no separators, not empty, at most "
            f"{MAX_NAME} bytes, no dot in front), got {_short(text)}.",
            path=where,
            fix=_FIX,
        )
    return text


def ordered_files(folder: PathLike, suffix: str) -> list[Path]:
    """Files of a folder in the order of their frames: numbers in names count as numbers.

    So ``2.bin`` comes before ``10.bin``. Hidden files (``._000000.bin`` of macOS) are left out; of
    a folder that is not there, there are none.

    Args:
        folder: Where they lie.
        suffix: That they have, e.g. ``".bin"``.

    Raises:
        DataError: Two names are one number (``7.bin`` and ``007.bin``): which comes first?
    """
    found: dict[tuple[str | int, ...], Path] = {}
    for path in sorted(Path(folder).glob(f"*{suffix}")):
        if path.name.startswith("."):
            continue
        parts = enumerate(_DIGITS.split(path.name.removesuffix(suffix)))
        key = tuple(int(text) if place % 2 else text for place, text in parts)
        other = found.setdefault(key, path)
        if other != path:
            raise DataError(
                f"Expected one file a frame, got {other.name} and {path.name}.",
                path=folder,
                fix="take one of the two out, or name them differently.",
            )
    return [found[key] for key in sorted(found)]


def _short(value: object) -> str:
    words = repr(value)
    return words if len(words) <= 120 else f"{words[:100]}... ({len(words)} characters)"
