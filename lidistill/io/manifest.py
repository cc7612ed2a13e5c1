# SPDX-License-Identifier: Apache-2.0
"""The manifest beside everything that lidistill derives."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill import __version__
from lidistill.io.errors import DataError, PathLike
from lidistill.io.records import COUNT, TEXT, Schema, fields
from lidistill.io.text import read_json, write_json

_MANIFEST: Schema = {
    "tool": TEXT,
    "lidistill_version": TEXT,
    "parameters": dict,
    "count": COUNT,
    "source": TEXT,
}


def manifest_path(target: PathLike) -> Path:
    """Returns where the manifest of a folder or a file lies."""
    path = Path(target)
    return path / "manifest.json" if path.is_dir() else path.with_name(f"{path.name}.manifest.json")


def write_manifest(
    target: PathLike,
    tool: str,
    parameters: Mapping[str, Any],
    count: int,
    source: str,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Writes what made a product, beside it: ``<folder>/manifest.json``, ``<file>.manifest.json``.

    Args:
        target: The folder or file that was made; it must exist.
        tool: The command's name.
        parameters: Everything that changes the product's content.
        count: Number of entries in it.
        source: What it was made from.
        more: Further entries that describe the product and do not make it.

    Returns:
        The manifest's path. It holds no time stamp: the same work gives the same bytes.
    """
    if not Path(target).exists():
        raise DataError("A manifest describes a product, but there is none.", path=target)
    manifest = {
        "tool": tool,
        "lidistill_version": __version__,
        "parameters": dict(parameters),
        "count": int(count),
        "source": source,
        **(more or {}),
    }
    path = manifest_path(target)
    if not (path.is_file() and _same(path, manifest)):  # a finished product may be read-only
        write_json(path, manifest)
    return path


def _same(path: Path, manifest: Mapping[str, Any]) -> bool:
    with contextlib.suppress(DataError):
        return bool(read_json(path) == manifest)
    return False


def read_manifest(target: PathLike, fix: str | None = None) -> dict[str, Any]:
    """Reads the manifest beside a product.

    Raises:
        DataError: It is missing or not a manifest.
    """
    path = manifest_path(target)
    manifest = read_json(path, fix)
    return fields(manifest, _MANIFEST, path, fix=fix)
