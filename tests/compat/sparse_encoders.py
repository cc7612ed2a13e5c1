# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's sparse encoders in one training step, for whoever's layers ``spconv`` leads to."""

from __future__ import annotations

from typing import Any

import torch

from lidistill import compat
from tests.compat.dense import one_thread

compat.apply()


def report() -> list[Any]:
    """Whether mmdet3d takes the layers, where they come from, losses and sums of gradients."""
    import mmdet3d.models.layers.spconv as layers
    import spconv.pytorch as spconv
    from mmdet3d.models.middle_encoders import SparseEncoder
    from mmdet3d.registry import MODELS

    torch.manual_seed(0)
    coords = (torch.rand(2, 16, 24, 16) < 0.1).nonzero().int()
    features = torch.randn(len(coords), 4)
    numbers = []
    for block in ("conv_module", "basicblock"):
        last = ((8, 8), (8, 16), (16, 16)) if block == "basicblock" else ((8,), (8, 8), (16, 16))
        net = SparseEncoder(
            4,
            [16, 24, 16],
            base_channels=8,
            output_channels=16,
            block_type=block,
            encoder_channels=last,
            encoder_paddings=tuple((1,) * len(each) for each in last),
        )
        net.load_state_dict(dict(net.state_dict()))  # mmdet3d turns what says no version
        with one_thread():
            loss = net(features, coords, 2).square().mean()
            loss.backward()
        numbers += [loss.item(), sum(p.grad.abs().sum().item() for p in net.parameters())]
    registered = MODELS.get("SubMConv3d") is spconv.SubMConv3d
    return [layers.IS_SPCONV2_AVAILABLE, registered, spconv.SubMConv3d.__module__, numbers]
