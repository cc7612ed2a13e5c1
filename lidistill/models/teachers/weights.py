# SPDX-License-Identifier: Apache-2.0
"""Read image weights published under other projects' names: safely, strictly, with clear errors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Where published files keep a residual network; the first best match wins.
PREFIXES = (
    "",  # torchvision, DINO's backbone files, DenseCL's extracted weights
    "module.encoder_q.",  # MoCo v1 and v2
    "module.",  # SwAV, DeepCluster v2
    "backbone.",  # DINO (teacher), mmpretrain, mmdet
    "module.backbone.",  # DINO (student)
    "encoder.",  # SLidR's own checkpoints
    "module.encoder.",  # PixPro
    "encoder_q.0.",  # DenseCL's training checkpoints
    "encoder_q.",
    "model.",
)


def load_image_weights(model: nn.Module, path: str | Path) -> str:
    """Load a local ``.pth`` or ``.safetensors`` file into an image network.

    The file may nest its tensors (``state_dict``, ``teacher``, ``model_images`` ...) and put a
    prefix before every name: ImageNet (torchvision), MoCo v1 and v2, SwAV, DeepCluster v2, DenseCL,
    DINO, PixPro and SLidR are known. Every tensor of ``model`` must be found with its shape; only
    counters of batch norm may be absent. Heads that ``model`` does not have are left over.

    Args:
        model: receives the weights.
        path: local file; read with ``weights_only``, so it cannot run code.

    Returns:
        One sentence about what was loaded, for the log.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no checkpoint, or does not hold all of the model's tensors.
    """
    wanted = model.state_dict()
    best: dict[str, Tensor] = {}
    best_place, best_table = "", {}
    tables = dict(_tensor_tables(_read(Path(path)), ""))
    if not tables:
        raise ValueError(f"{path} holds no tensors; is it a checkpoint?")
    for place, table in tables.items():
        for prefix in PREFIXES:
            found = {
                name: table[prefix + name]
                for name, tensor in wanted.items()
                if prefix + name in table and table[prefix + name].shape == tensor.shape
            }
            if len(found) > len(best):
                best, best_place, best_table = found, f"{place}[{prefix}*]", table
    lacking = [n for n in wanted if n not in best and not n.endswith("num_batches_tracked")]
    if lacking:
        raise ValueError(_misfit(model, path, wanted, best, lacking, tables))
    model.load_state_dict({**wanted, **best})
    left = len(best_table) - len(best)
    return f"{path}: {len(best)} tensors from {best_place}, {left} of other parts left over"


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"no image weights at {path}; put the published file there or correct the path "
            "(nothing is downloaded)"
        )
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no readable safetensors file ({error})") from error
    try:
        # DINO's files carry their command line; a Namespace is a plain record.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} is no checkpoint that can be read safely ({error}); if you trust it, convert "
            "it to .safetensors"
        ) from error


def _tensor_tables(content: Any, place: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping in the file that holds tensors, with its place; ``student`` comes last."""
    if not isinstance(content, Mapping):
        return
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if tensors:
        yield place or "top level", tensors
    for key in sorted((k for k in content if isinstance(k, str)), key=lambda k: k == "student"):
        if not isinstance(content[key], Tensor):
            yield from _tensor_tables(content[key], f"{place}.{key}" if place else key)


def _misfit(
    model: nn.Module,
    path: str | Path,
    wanted: Mapping[str, Tensor],
    best: Mapping[str, Tensor],
    lacking: list[str],
    tables: Mapping[str, Mapping[str, Tensor]],
) -> str:
    def some(names: list[str]) -> str:
        return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")

    held = [f"{place}: {some(list(table))}" for place, table in tables.items()]
    return (
        f"{path} does not fit {type(model).__name__}: {len(best)} of {len(wanted)} tensors matched "
        f"by name and shape ({some(list(best)) or 'none'}). "
        f"Missing or of another shape: {some(lacking)}. The file holds {'; '.join(held[:4])}. "
        "Check the network's depth, or rename the tensors as torchvision does"
    )
