# SPDX-License-Identifier: Apache-2.0
"""JSON files, and the manifest beside everything that lidistill derives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill import __version__
from lidistill.io.atomic import atomic_write
from lidistill.io.errors import DataError, PathLike, read_bytes


def write_json(path: PathLike, obj: object) -> None:
    """Writes an object as indented JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(obj, indent=1) + "\n", encoding="utf-8")


def read_json(path: PathLike, fix: str | None = None) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: The file is missing or not JSON.
    """
    data = read_bytes(path, None, fix)
    try:
        return json.loads(data)
    except ValueError as error:
        raise DataError(
            f"Expected a JSON file, but it does not parse: {error}.", path=path, fix=fix
        ) from error


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
    write_json(path, manifest)
    return path


def read_manifest(target: PathLike, fix: str | None = None) -> dict[str, Any]:
    """Reads the manifest beside a product.

    Raises:
        DataError: It is missing or not a manifest.
    """
    path = manifest_path(target)
    manifest = read_json(path, fix)
    keys = {"tool", "lidistill_version", "parameters", "count", "source"}
    if not isinstance(manifest, dict) or not keys <= manifest.keys():
        raise DataError(f"Expected a manifest with {sorted(keys)}.", path=path, fix=fix)
    return manifest
