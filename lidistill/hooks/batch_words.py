# SPDX-License-Identifier: Apache-2.0
"""What a batch is, in words: its samples, and the first of its numbers that is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

NAMES = ("sample_idx", "token", "lidar_path", "img_path")
"""Where mmdet3d's samples say which they are."""


def sample_names(batch: Any) -> list[str]:
    """Tokens, ids or files of a batch's samples; numbers where a sample does not say."""
    inner = batch.get("inputs") if isinstance(batch, Mapping) else batch
    tokens = getattr(inner, "tokens", None)
    if tokens:
        return [str(token) for token in tokens]
    samples = batch.get("data_samples") if isinstance(batch, Mapping) else None
    return [_name(sample, number) for number, sample in enumerate(samples or ())]


def first_not_finite(batch: Any) -> str | None:
    """Where the first number is that is none, ``inputs.points[1][50, 3] is nan (sample 000031)``.

    Args:
        batch: as the data loader gives it: dictionaries, lists, tensors, dataclasses, mmengine's
            data elements, mmdet3d's boxes and points.

    Returns:
        None where all are finite.
    """
    names = sample_names(batch)
    for place, index, values in _tensors(batch, "", None):
        if not values.is_floating_point() or bool(torch.isfinite(values).all()):
            continue
        if place.endswith("images") and bool(torch.isnan(values).all()):
            continue  # placeholders: their teacher is read from a cache
        at = torch.nonzero(~torch.isfinite(values))[0]
        where = f"{place}[{', '.join(str(int(i)) for i in at)}]" if len(at) else place
        sample = f" (sample {names[index]})" if index is not None and index < len(names) else ""
        return f"{where} is {float(values[tuple(at)])}{sample}"
    return None


def _name(sample: Any, number: int) -> str:
    known = getattr(sample, "metainfo", None) or {}
    for key in NAMES:
        if known.get(key) not in (None, ""):
            text = str(known[key])
            return Path(text).name if key.endswith("_path") else text
    return f"number {number}"


def _tensors(
    node: Any, place: str, index: int | None
) -> Iterator[tuple[str, int | None, torch.Tensor]]:
    """Every tensor of a batch: where it is, of which sample, and its values."""
    if isinstance(node, torch.Tensor):
        yield place, index, node
        return
    if isinstance(getattr(node, "tensor", None), torch.Tensor):  # boxes and points of mmdet3d
        yield place, index, node.tensor
        return
    if isinstance(node, Mapping):
        parts = [(f"{place}.{key}" if place else str(key), index, one) for key, one in node.items()]
    elif isinstance(node, list | tuple):
        parts = [
            (f"{place}[{number}]", number if index is None else index, one)
            for number, one in enumerate(node)
        ]
    elif dataclasses.is_dataclass(node):
        fields = [(field.name, getattr(node, field.name)) for field in dataclasses.fields(node)]
        parts = [(f"{place}.{name}", index, value) for name, value in fields]
    elif callable(getattr(node, "all_items", None)):  # mmengine's data elements
        parts = [(f"{place}.{key}", index, one) for key, one in node.all_items()]
    else:
        return
    for name, of, part in parts:
        yield from _tensors(part, name, of)
