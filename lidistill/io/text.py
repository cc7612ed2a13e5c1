# SPDX-License-Identifier: Apache-2.0
"""Text and JSON as people's tools write them: with a byte order mark, with CRLF, or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill.io.atomic import atomic_write
from lidistill.io.errors import DataError, PathLike, missing_file, read_bytes

MAX_JSON_BYTES = 4 << 30
"""Largest JSON file that is read; nuScenes' largest table has 1.1 GB."""

_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def read_text(path: PathLike, token: str | None = None, fix: str | None = None) -> str:
    """Text of a file in UTF-8, with or without byte order mark; line ends become newlines.

    Args:
        path: The file.
        token: Of the sample, for the error message.
        fix: What to do when the file is missing.

    Raises:
        DataError: The file is missing, or is in another encoding; names it.
    """
    text = _decoded(read_bytes(path, token, fix), path, token)
    # a file put together from two that had marks has one inside, too
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n\ufeff", "\n")


def read_json(
    path: PathLike,
    fix: str | None = None,
    token: str | None = None,
    max_bytes: int = MAX_JSON_BYTES,
) -> Any:
    """Reads a JSON file in UTF-8, with or without byte order mark.

    Args:
        path: The file.
        fix: What to do when it is missing or damaged.
        token: Of the sample, for the error message.
        max_bytes: A larger file is refused before it is read.

    Raises:
        DataError: The file is missing, too large, no JSON, nested too deeply, or names a key of an
            object twice.
    """
    source = Path(path)
    if not source.is_file():
        raise missing_file(source, token, fix)
    if source.stat().st_size > max_bytes:
        raise DataError(
            f"Expected a JSON file of at most {max_bytes:,} bytes, got {source.stat().st_size:,}.",
            path=path,
            token=token,
            fix=fix or "check that this is the right file.",
        )
    text = _decoded(read_bytes(path, token, fix), path, token)
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(
            f"Expected a JSON file, but it does not parse: {what}.",
            path=path,
            token=token,
            fix=fix or "mend or make this file again.",
        ) from error


def write_json(path: PathLike, obj: object) -> None:
    """Writes an object as indented JSON, atomically; a number that is none becomes ``null``."""
    text = json.dumps(_finite(obj), indent=1, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _finite(obj: Any) -> Any:
    """JSON knows no NaN and no infinity: readers of other languages refuse such a file whole."""
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    if isinstance(obj, Mapping):
        return {key: _finite(value) for key, value in obj.items()}
    return [_finite(value) for value in obj] if isinstance(obj, list | tuple) else obj


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last of two equal keys would win without a word."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:100]!r} is there twice in one object")
    return record


def _decoded(data: bytes, path: PathLike, token: str | None) -> str:
    found = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if found is None and b"\0" in data:
        where = data.index(b"\0")
        found = f"a NUL byte at {where}: UTF-16 without a mark, or no text"
    if found is None:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"byte 0x{data[error.start]:02x} in line {line}: latin-1, or damaged"
    raise DataError(
        f"Expected text in UTF-8, got {found}.",
        path=path,
        token=token,
        fix="save it as UTF-8, e.g.: iconv -f LATIN1 -t UTF-8 OLD > NEW (or -f UTF-16); if no tool "
        "of yours wrote it, extract it again.",
    )
