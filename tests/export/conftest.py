# SPDX-License-Identifier: Apache-2.0
"""Students whose training checkpoint lies at ``tmp_path / "iter_9.pth"``."""

from __future__ import annotations

import pytest
from torch import nn

from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.backbones.voxelnet import VoxelNet
from tests.export import minkowski
from tests.export.samples import SIZES, checkpoint, shake


@pytest.fixture
def voxelnet(tmp_path):
    model = shake(VoxelNet())
    checkpoint(tmp_path / "iter_9.pth", model)
    return model


@pytest.fixture
def unet(tmp_path):
    model = shake(SparseUNet(**SIZES, out_channels=0))
    head = nn.Linear(minkowski.PLANES[-1], minkowski.OUT)
    checkpoint(tmp_path / "iter_9.pth", model, point=head, image=nn.Conv2d(2, 3, 1))
    return model
