# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: reading nested ones safely, writing whole ones or none."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lidistill import __version__, compat
from lidistill.export.report import Parts, some
from lidistill.io import DataError, atomic_write, write_manifest
from lidistill.io.checkpoints import read_checkpoint, tensor_tables

WEIGHTS = ("weight", "bias", "kernel", "running_mean", "running_var")  # never whole numbers
# Where checkpoints keep a network's tensors; the first that fits is taken.
PLACES = ("model_points", "state_dict", "model_state", "model", "")


@dataclass(frozen=True)
class Content:
    """A checkpoint file.

    Attributes:
        path: the file.
        tables: place in the file -> tensors by name; ``""`` is the top level.
        notes: what the file says beside its tensors.
    """

    path: Path
    tables: dict[str, dict[str, Tensor]]
    notes: dict[str, Any]

    def summary(self) -> str:
        """What the file holds, for messages."""
        return "; ".join(
            f"{place or 'top level'}: {len(table)} tensors ({some(list(table), 5)})"
            for place, table in self.tables.items()
        )


def read_content(path: str | Path) -> Content:
    """All tensors of a ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, would run code, or holds no tensors by name.
    """
    compat.apply()
    content = read_checkpoint(path, "correct the path")
    tables = tensor_tables(content)
    if not tables:
        held = some(list(map(str, content))) if isinstance(content, Mapping) else type(content)
        raise ValueError(f"{path} holds no tensors by name; it holds: {held}")
    tables = dict(sorted(tables.items(), key=lambda item: _rank(item[0])))
    notes = {k: v for k, v in content.items() if not isinstance(v, Tensor) and k not in tables}
    return Content(Path(path), tables, notes)


def _rank(place: str) -> tuple[int, str]:
    return (PLACES.index(place) if place in PLACES else len(PLACES), place)


def check_weights(parts: Parts, path: str | Path) -> None:
    """Refuse tensors that no network can use.

    Weights are dense, real, finite floating-point numbers that lie in memory. Counters and tables
    of indices (``num_batches_tracked``) are whole numbers.

    Args:
        parts: tensors that are to be used.
        path: the file they come from.

    Raises:
        DataError: some are not; says which, and what they are.
    """
    faults = [
        f"{part.source or name} {fault}"
        for name, part in parts.items()
        if (fault := _weight_fault(name, part.tensor))
    ]
    if faults:
        raise DataError(
            f"Expected weights that are dense, finite floating-point tensors; {len(faults)} of "
            f"{len(parts)} are not: {some(faults, 5)}.",
            path=path,
            fix="export an earlier checkpoint of this training, or save the weights again where "
            "they were made, as plain float tensors.",
        )


def _weight_fault(name: str, tensor: Tensor) -> str | None:
    """What is wrong with a tensor, or None."""
    if tensor.is_meta:
        return "is on the meta device: it has no values"
    if tensor.layout is not torch.strided:
        return f"is sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_quantized or tensor.is_complex():
        return f"is {str(tensor.dtype).removeprefix('torch.')}"
    if not tensor.is_floating_point():
        weight = name.rpartition(".")[2] in WEIGHTS
        return f"is {str(tensor.dtype).removeprefix('torch.')}" if weight else None
    bad = int((~tensor.float().isfinite()).sum())
    return f"holds {bad} NaN or infinite of {tensor.numel()} values" if bad else None


def with_versions(state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """A state dict that says of every module which version it is, as ``module.state_dict()`` does.

    mmdet3d rotates the axes of spconv weights that say no version.
    """
    ordered = OrderedDict(state)
    modules = dict.fromkeys(name.rpartition(".")[0] for name in ordered)
    ordered._metadata = OrderedDict((name, {"version": 2}) for name in modules)  # type: ignore[attr-defined]
    return ordered


def write_parts(
    out: Path,
    parts: Parts,
    place: str,
    source: Path,
    tool: str,
    parameters: Mapping[str, Any],
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint and the manifest beside it, each whole or not at all.

    Args:
        out: ``.safetensors`` for the tensors alone, else a torch file.
        parts: tensors by name.
        place: key of the torch file that holds them.
        source: the file they came from.
        tool: the verb.
        parameters: its options.
        notes: what a torch file says in ``meta`` beside its origin.
    """
    state = {name: part.tensor for name, part in parts.items()}
    if out.suffix == ".safetensors":
        from safetensors.torch import save

        whole = {name: tensor.contiguous().clone() for name, tensor in state.items()}
        data = save(whole, {"lidistill_version": __version__})
    else:
        meta = {"lidistill_version": __version__, "tool": tool, "source": str(source)}
        meta |= notes or {}
        stream = BytesIO()
        torch.save({place: with_versions(state), "meta": meta}, stream)
        data = stream.getvalue()
    # both libraries hide the reason where a disk is full; a plain write tells it
    with atomic_write(out) as temporary:
        temporary.write_bytes(data)
    write_manifest(out, tool, parameters, len(state), str(source))


def check_output(source: str | Path, out: str | Path | None) -> Path | None:
    """The file to write.

    Raises:
        ValueError: it is the one that is read.
    """
    if out is not None and Path(out).resolve() == Path(source).resolve():
        raise ValueError(f"{out} is the file that is read; choose another name to write to")
    return None if out is None else Path(out)
