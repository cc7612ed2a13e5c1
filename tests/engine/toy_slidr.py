# SPDX-License-Identifier: Apache-2.0
"""SLidR on random batches: the smallest whole training, for one process or several."""

from __future__ import annotations

import atexit
import dataclasses
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, is_distributed
from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import Dataset

from lidistill.datasets.frame import PairBatch
from lidistill.io import write_json
from lidistill.methods import SLidR
from tests.toy_pairs import make_batch, networks

PAIRS = (60, 0, 35, 50)


class ToySLidR(SLidR):
    """Linear student: a sample's features do not depend on the others', unless ``noisy``.

    Args:
        noisy: batch norm and dropout behind the linear layer.
    """

    def __init__(self, noisy: bool = False, **kwargs: Any) -> None:
        parts = networks(teacher_stride=2 if noisy else 1)
        if noisy:
            parts["student"] = nn.Sequential(parts["student"], nn.BatchNorm1d(6), nn.Dropout(0.2))
        super().__init__(**parts, temperature=0.3, **kwargs)


class ToyPairs(Dataset):
    """Random samples with unequal numbers of pairs, one of them (the third drawn) without any."""

    def __len__(self) -> int:
        return len(PAIRS)

    def __getitem__(self, draw: Any) -> PairBatch:
        return make_batch(samples=1, pairs=PAIRS[draw.index], seed=draw.index)


def join(batches: Sequence[PairBatch]) -> dict[str, PairBatch]:
    """One batch of several; only what SLidR reads is made right."""
    points = [len(batch.points) for batch in batches]
    images = [len(batch.images) for batch in batches]
    joined = {
        field.name: torch.cat([getattr(batch, field.name) for batch in batches])
        for field in dataclasses.fields(PairBatch)
        if isinstance(getattr(batches[0], field.name), torch.Tensor)
    }
    for name, counts in (("pair_point", points), ("pair_image", images)):
        starts = [sum(counts[:i]) for i in range(len(batches))]
        moved = [getattr(b, name) + start for b, start in zip(batches, starts, strict=True)]
        joined[name] = torch.cat(moved)
    starts = [sum(points[:i]) for i in range(len(batches))]
    rows = [batch.point_to_voxel + start for batch, start in zip(batches, starts, strict=True)]
    joined["point_to_voxel"] = torch.cat(rows)
    joined["image_batch"] = torch.arange(len(batches)).repeat_interleave(torch.tensor(images))
    changed = dataclasses.replace(batches[0], **joined, batch_size=len(batches))
    return {"inputs": changed}


class RankNotes(Hook):
    """Each rank writes what it ends with, how often it wrote a checkpoint, its gloo threads."""

    def __init__(self) -> None:
        self.saved = 0

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        self.saved += 1

    def after_train(self, runner: Any) -> None:
        model = getattr(runner.model, "module", runner.model)
        weights = {name: value.double().tolist() for name, value in model.named_parameters()}
        note = {"weights": weights, "saved": self.saved, "first_iteration": runner.iter}
        folder, rank = Path(runner.work_dir), get_rank()
        write_json(folder / f"rank_{rank}.json", {**note, "threads": gloo_threads()})
        if is_distributed():
            atexit.register(note_exit, folder / f"exit_{rank}.json")


def gloo_threads() -> list[str]:
    """Names of the threads that gloo has in this process (Linux; elsewhere none is seen)."""
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # the thread has ended since
            names.append(path.read_text().strip())
    return sorted(name for name in names if "gloo" in name)


def note_exit(path: Path) -> None:
    """Write which gloo threads are left at the exit; one that has ended may show for a moment."""
    end = time.monotonic() + 3
    while gloo_threads() and time.monotonic() < end:
        time.sleep(0.05)
    write_json(path, {"threads": gloo_threads()})
