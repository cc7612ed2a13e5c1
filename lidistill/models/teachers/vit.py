# SPDX-License-Identifier: Apache-2.0
"""Vision transformers as dense image teachers: DINO, DINOv2, DINOv3, from a local directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lidistill.registry import MODELS

KNOWN_TYPES = ("dinov2", "dinov2_with_registers", "dinov3_vit", "vit")


@MODELS.register_module()
class ViTTeacher(nn.Module):
    """A transformers ViT whose patch tokens are laid out as a map.

    Args:
        directory: local directory with ``config.json`` and weights, as ``save_pretrained`` writes
            it; model types dinov2, dinov2_with_registers, dinov3_vit and vit. Nothing is
            downloaded.
        final_norm: True takes tokens after the last layer norm (SLidR-style users); False before
            it, as ScaLR does.

    Raises:
        FileNotFoundError: no such directory, or no config in it.
        ValueError: another model type, or weights that lack some tensors.
    """

    def __init__(self, directory: str | Path, final_norm: bool = True) -> None:
        super().__init__()
        encoder = _load(Path(directory))
        config = encoder.config
        self.encoder: nn.Module = encoder
        self.loaded = str(directory)
        self.is_vit = config.model_type == "vit"
        self.final_norm = final_norm
        self.stride = int(config.patch_size)
        self.out_channels = int(config.hidden_size)
        self.extra_tokens = 1 + int(getattr(config, "num_register_tokens", 0))

    def forward(self, images: Tensor) -> Tensor:
        """Patch tokens as a map.

        Args:
            images: (B, 3, H, W) normalised RGB; H and W multiples of the patch size.

        Returns:
            (B, C, H / patch, W / patch).
        """
        height, width = images.shape[2:]
        if height % self.stride or width % self.stride:
            fitting = (height // self.stride * self.stride, width // self.stride * self.stride)
            raise ValueError(
                f"images must be multiples of the patch size {self.stride}, got "
                f"{height} x {width}; resize to {fitting[0]} x {fitting[1]}"
            )
        options = {"interpolate_pos_encoding": True} if self.is_vit else {}
        output = self.encoder(
            images, output_hidden_states=not self.final_norm, return_dict=True, **options
        )
        tokens = output.last_hidden_state if self.final_norm else output.hidden_states[-1]
        rows, columns = height // self.stride, width // self.stride
        patches = tokens[:, self.extra_tokens :]  # (B, rows * columns, C), row by row
        return patches.transpose(1, 2).reshape(len(images), -1, rows, columns)


def _load(directory: Path) -> Any:
    """The model in ``directory``, in full or not at all."""
    if not (directory / "config.json").is_file():
        raise FileNotFoundError(
            f"no config.json in {directory}; expected a directory with a transformers model "
            "(for DINOv2: a local copy of facebook/dinov2-base, see docs/teachers.md)"
        )
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
    except ValueError as error:  # a newer model type than this transformers knows
        raise ValueError(
            f"{directory} holds a model that the installed transformers cannot build ({error}); "
            f"known types are {', '.join(KNOWN_TYPES)}; pip install -U transformers for DINOv3"
        ) from error
    if config.model_type not in KNOWN_TYPES:
        raise ValueError(
            f"{directory} holds a {config.model_type!r}; known types are {', '.join(KNOWN_TYPES)}"
        )
    options = {"add_pooling_layer": False} if config.model_type == "vit" else {}
    model, report = AutoModel.from_pretrained(
        directory, local_files_only=True, output_loading_info=True, **options
    )
    missing = sorted(str(name) for name in report["missing_keys"])
    if missing:
        raise ValueError(
            f"the weights in {directory} lack {len(missing)} tensors of the model: "
            f"{', '.join(missing[:5])}; copy the whole directory again"
        )
    return model
