# SPDX-License-Identifier: Apache-2.0
"""Connectors: trainable adapters between the widths or strides of student and teacher.

Saved in training checkpoints, dropped at export.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lidistill.losses.rows import directions


class Linear(nn.Linear):
    """(N, in) -> (N, out) rows; SLidR's 3D head."""


class MLP(nn.Sequential):
    """(N, in) -> (N, out) rows through one hidden layer with batch norm and ReLU."""

    def __init__(self, in_features: int, hidden_features: int, out_features: int) -> None:
        super().__init__(
            nn.Linear(in_features, hidden_features, bias=False),
            nn.BatchNorm1d(hidden_features),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_features, out_features),
        )


class Conv1x1(nn.Conv2d):
    """(B, in, H, W) -> (B, out, H, W) by a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1, bias=bias)


class Conv3x3(nn.Sequential):
    """(B, in, H, W) -> (B, out, H / stride, W / stride): 3x3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Orthogonal(nn.Module):
    """(N, in) -> (N, out >= in) by a matrix with orthonormal columns.

    It can neither shrink nor collapse features, so a distillation term cannot be lowered by scale.
    Source: V_kD, Miles et al., CVPR 2024 (parametrisation by a Cayley map is torch's own).
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        if out_features < in_features:
            raise ValueError(
                f"an orthogonal connector widens: got {in_features} -> {out_features}; "
                "use Linear to narrow"
            )
        self.projection = nn.utils.parametrizations.orthogonal(
            nn.Linear(in_features, out_features, bias=False)
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Project ``rows`` (N, in)."""
        return self.projection(rows)


class ProjectionMap(nn.Module):
    """Image head of SLidR: 1x1 convolution, bilinear upsampling, unit norm per pixel.

    Args:
        in_channels: width of the teacher's map.
        out_channels: D of the shared embedding.
        upsample: factor to the resolution at which regions are pooled; 1 keeps the map as it is,
            which costs a fraction and lets regions read it bilinearly.

    Source: SLidR section 3.2 (align_corners as in the authors' release).
    """

    def __init__(self, in_channels: int, out_channels: int, upsample: int = 1) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.upsample = upsample

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, D, h * upsample, w * upsample), unit norm along D."""
        embedding = self.project(feature_map)
        if self.upsample > 1:
            embedding = F.interpolate(
                embedding.contiguous(),  # regions of a full map are summed channel by channel
                scale_factor=self.upsample,
                mode="bilinear",
                align_corners=True,
            )
        return directions(embedding)


def check_widths(student: int, teacher: int, where: str) -> None:
    """Refuse to compare unequal widths without a connector.

    Raises:
        ValueError: the widths differ; the message suggests the connector.
    """
    if student != teacher:
        raise ValueError(
            f"{where}: student width {student} and teacher width {teacher} differ; add a "
            f"connector, e.g. dict(type=Linear, in_features={student}, out_features={teacher})"
        )
