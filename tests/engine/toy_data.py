# SPDX-License-Identifier: Apache-2.0
"""Rows that depend on the draw alone, so two runs see the same data or the test fails."""

from __future__ import annotations

import os
import time

import numpy as np
import torch
from torch.utils.data import Dataset

from tests.distill.toys import ToyBatch


class ToyDataset(Dataset):
    def __init__(self, root: str = "") -> None:
        self.root = root
        self.seen: list = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, draw):
        self.seen.append(draw)
        time.sleep(float(os.environ.get("TOY_DELAY", "0")))
        noise = np.random.default_rng(draw.seed).normal(size=3)
        return torch.tensor(noise + draw.index, dtype=torch.float32)


def collate_toys(rows: list) -> dict:
    return {"inputs": ToyBatch(torch.stack(rows))}
