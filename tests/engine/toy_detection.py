# SPDX-License-Identifier: Apache-2.0
"""Small PointPillars distilled on four scenes: the smallest whole training of a detector."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from lidistill.distill.connectors import Conv1x1
from lidistill.distill.detectors.choices import Gaussian
from lidistill.losses.feature import pearson_knowledge
from lidistill.losses.response import bernoulli_kd
from lidistill.methods import FeatureKD, PointDistiller
from tests.methods import small_detectors


def toy_method(method: str) -> nn.Module:
    """A narrow student and a teacher: ``pointdistiller`` or ``feature_kd``."""
    student, teacher = small_detectors.pillars(8, seed=0), small_detectors.pillars(16, seed=1)
    torch.manual_seed(2)
    if method == "pointdistiller":
        graph = dict(tap="voxel_encoder", channels=(8, 16), width=6, queries=40, neighbours=5)
        return PointDistiller(student, dict(model=teacher), dict(pillars=graph))
    near = [dict(type=Gaussian)]
    terms = dict(
        neck=dict(
            loss=pearson_knowledge, tap="neck[0]", places=near, connector=Conv1x1(24, 48)
        ),
        classes=dict(loss=bernoulli_kd, tap="bbox_head.conv_cls", places=near),
    )  # fmt: skip
    return FeatureKD(student, dict(teacher=dict(model=teacher)), terms)


class ToyScenes(Dataset):
    """Four scenes with cars; the third has no box."""

    metainfo = {"classes": ("Pedestrian", "Cyclist", "Car")}  # noqa: RUF012

    def __init__(self) -> None:
        batch = small_detectors.batch(samples=4)
        self.points, self.samples = batch["inputs"]["points"], batch["data_samples"]
        empty = self.samples[2].gt_instances_3d
        self.samples[2].gt_instances_3d = empty[torch.zeros(0, dtype=torch.long)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Any) -> dict[str, Any]:
        row = getattr(draw, "index", draw)
        sample = self.samples[row]
        return {"inputs": {"points": self.points[row].clone()}, "data_samples": sample.clone()}
