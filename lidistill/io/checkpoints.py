# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of this and of other projects, read without running code from them."""

from __future__ import annotations

import argparse
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidistill.io.errors import PathLike

if TYPE_CHECKING:
    from torch import Tensor


def read_checkpoint(
    path: PathLike, fix: str = "train it first or correct the path", map_location: Any = "cpu"
) -> Any:
    """Content of a ``.pth`` / ``.pt`` / ``.pth.tar`` or ``.safetensors`` file.

    Pickles are read with ``weights_only``: one that tries to run code is refused.

    Args:
        path: local file.
        fix: what to do when it is missing, for the error message.
        map_location: as :func:`torch.load`'s; tensors of ``.safetensors`` come to the CPU.

    Returns:
        Whatever was saved; for ``.safetensors`` a dictionary of tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds more than plain data and tensors.
    """
    path = Path(path)
    if not path.is_file():
        there = sorted(found.name for found in path.parent.glob(f"*{path.suffix}"))
        known = f" (in its folder: {', '.join(there[:5])})" if there else ""
        raise FileNotFoundError(f"no checkpoint at {path}{known}; {fix}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no readable safetensors file ({error})") from error
    import torch

    try:
        _check_sums(path)
        # DINO's files carry their command line; a Namespace is a plain record.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(
            f"{path} is no readable checkpoint: it cannot be read safely, without running code "
            f"({error}). If you trust it, load it where it was made and save its tensors as "
            ".safetensors"
        ) from error


def archive_fault(path: PathLike) -> str | None:
    """What tells that a file that today's torch wrote is damaged, or None; nothing is loaded."""
    try:
        if not zipfile.is_zipfile(path):
            return "it is cut, or not of today's torch"
        _check_sums(Path(path))
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        return str(error)
    return None


def _check_sums(path: Path) -> None:
    """torch does not look at the sums of its own archive: a flipped bit gives other weights."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} in it has another check sum: the file is damaged")


def tensor_tables(content: Any, last: Sequence[str] = ()) -> dict[str, dict[str, Tensor]]:
    """Every dictionary of tensors in a checkpoint, by its place in it.

    Only names count: what is numbered (an optimizer's state) falls out.

    Args:
        content: what :func:`read_checkpoint` gives.
        last: keys that are visited after their neighbours.

    Returns:
        ``{"": {...}, "state_dict": {...}, "teacher.backbone": {...}}``, ``""`` being the top level;
        where a dictionary holds tensors and further dictionaries, both are listed.
    """
    return dict(_tables(content, "", last))


def _tables(
    content: Any, place: str, last: Sequence[str]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    import torch

    if not isinstance(content, Mapping):
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value for key, value in named.items() if isinstance(value, torch.Tensor)}
    if tensors:
        yield place, tensors
    for key in sorted(named, key=lambda k: k in last):
        yield from _tables(named[key], f"{place}.{key}" if place else key, last)
