# SPDX-License-Identifier: Apache-2.0
"""Connectors with their own rules: the graph layer, the Gaussian regressor, the mask generator."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from lidistill.losses.local_graph import EdgeRows, edge_rows
from lidistill.ops.graphs.local_graph import LocalGraph

TRAINING = ("trained", "frozen", "orthogonal")


class EdgeConv(nn.Module):
    """PointDistiller's graph layer: linear map of each edge, batch norm over all edges, ReLU.

    Args:
        in_channels: C of the places.
        out_channels: C' of the edges.
        residual: edges are ``[x_i - x_j ; x_i]`` instead of ``[x_j ; x_i]``.
        training_of: ``"trained"``: everything, as the release does on both sides. For the teacher's
            side ``"frozen"``: a random map with orthonormal rows, as buffers; or ``"orthogonal"``:
            the map is trained but keeps orthonormal rows. Both have a norm without scale and shift,
            so that the two sides cannot agree on nothing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        residual: bool = False,
        training_of: str = "trained",
    ) -> None:
        super().__init__()
        if training_of not in TRAINING:
            raise ValueError(f"training_of must be one of {TRAINING}, got {training_of!r}")
        self.residual = residual
        linear: nn.Module = nn.Linear(2 * in_channels, out_channels, bias=False)
        self.scale: nn.Parameter | None = None
        self.shift: nn.Parameter | None = None
        if training_of == "trained":
            self.scale = nn.Parameter(torch.ones(out_channels))
            self.shift = nn.Parameter(torch.zeros(out_channels))
        elif training_of == "orthogonal":
            linear = nn.utils.parametrizations.orthogonal(linear)
        else:
            weight = nn.init.orthogonal_(torch.empty(out_channels, 2 * in_channels))
            linear = nn.Module()
            linear.register_buffer("weight", weight)
        self.linear = linear

    def forward(self, rows: torch.Tensor, graph: LocalGraph) -> EdgeRows:
        """Edges of places (n, C), in the parts that :func:`edge_rows` describes; in float32."""
        rows = rows if rows.dtype == torch.float64 else rows.float()
        with torch.autocast(rows.device.type, enabled=False):
            weight = cast(torch.Tensor, self.linear.weight)
            return edge_rows(rows, graph, weight, self.scale, self.shift, self.residual)


class Gaussian(nn.Linear):
    """VID's regressor: means by a linear map of the rows, one trained variance per channel.

    Args:
        in_features: student's width.
        out_features: teacher's width.
        initial_variance: 5 in mdistiller.
        eps: smallest variance.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        initial_variance: float = 5.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(in_features, out_features, bias=False)
        start = torch.full((out_features,), initial_variance - eps).expm1().log()
        self.log_scale = nn.Parameter(start)


class MaskedGenerator(nn.Module):
    """MGD's generator: hide cells of the student's map, restore the teacher's from the rest.

    Args:
        in_channels: student's width.
        out_channels: teacher's width.
        hidden_share: share of the cells set to zero; 0.65 for one-stage detectors.

    Source: Yang et al., "Masked Generative Distillation", ECCV 2022, section 3.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden_share: float = 0.65) -> None:
        super().__init__()
        if not 0 <= hidden_share < 1:
            raise ValueError(f"expected hidden_share in [0, 1), got {hidden_share}")
        self.hidden_share = hidden_share
        self.widen = nn.Conv2d(in_channels, out_channels, 1)
        self.generate = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """(B, C_s, H, W) -> (B, C_t, H, W)."""
        batch, _, height, width = feature_map.shape
        drawn = torch.rand(batch, 1, height, width, device=feature_map.device)
        return self.generate(self.widen(feature_map) * (drawn >= self.hidden_share))
