# SPDX-License-Identifier: Apache-2.0
"""Read image weights published under other projects' names: safely, strictly, with clear errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from lidistill.io.checkpoints import read_checkpoint, tensor_tables

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


RANDOM = "random"
"""Instead of a file: leave the weights as drawn, and teach from them on purpose."""


def initial_weights(model: nn.Module, weights: str | Path | None) -> str:
    """Give an image network its weights; what they are, for the log.

    Args:
        model: receives them.
        weights: file; :data:`RANDOM`; or None, which leaves them random for a checkpoint that is
            loaded later, and is refused by ``lidistill train`` where none is.

    Returns:
        ``""`` for None: nobody said what its weights are to be.
    """
    if weights is None:
        return ""
    return (
        "random weights, as asked for" if weights == RANDOM else load_image_weights(model, weights)
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
    content = read_checkpoint(
        path, "put the published file there or correct the path (nothing is downloaded)"
    )
    tables = tensor_tables(content, last=("student",))
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
                best, best_place, best_table = found, f"{place or 'top level'}[{prefix}*]", table
    lacking = [n for n in wanted if n not in best and not n.endswith("num_batches_tracked")]
    if lacking:
        raise ValueError(_misfit(model, path, wanted, best, lacking, tables))
    wild = [n for n, t in best.items() if t.is_complex() or not bool(t.float().isfinite().all())]
    if wild:
        raise ValueError(
            f"{path} holds NaN, infinite or complex numbers in {', '.join(wild[:5])}; get the file "
            "again, or save the weights again where they were made"
        )
    model.load_state_dict({**wanted, **best})
    left = len(best_table) - len(best)
    return f"{path}: {len(best)} tensors from {best_place}, {left} of other parts left over"


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

    held = [f"{place or 'top level'}: {some(list(table))}" for place, table in tables.items()]
    return (
        f"{path} does not fit {type(model).__name__}: {len(best)} of {len(wanted)} tensors matched "
        f"by name and shape ({some(list(best)) or 'none'}). "
        f"Missing or of another shape: {some(lacking)}. The file holds {'; '.join(held[:4])}. "
        "Check the network's depth, or rename the tensors as torchvision does"
    )
