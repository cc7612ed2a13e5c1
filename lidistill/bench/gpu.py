# SPDX-License-Identifier: Apache-2.0
"""Benches on a GPU, none without: ``lidistill bench gpu --out docs/benchmarks_gpu.json``.

The hot paths beside the authors' way; SLidR's whole step at the paper's size: samples a second in
float32 and bfloat16, and how much of a step the two networks take by themselves; PointDistiller's
steps at the paper's sizes beside the student's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lidistill.bench import distilled_step
from lidistill.bench.case import Case
from lidistill.bench.local_graph import FULL, QUICK, GraphScene
from lidistill.bench.region_infonce import RegionScene
from lidistill.bench.slidr_step import (
    DEFAULT_STRIDE,
    DEMO,
    authors_step,
    make_batch,
    make_slidr,
)
from lidistill.datasets.frame import PairBatch
from lidistill.distill.calls import call_model
from lidistill.engine.amp import BFloat16OptimWrapper
from lidistill.methods import SLidR

GRAPHS = {
    "full": ("voxels, 4x", "40,000 voxels", "points, max pooling"),
    "quick": ("voxels, 4x", "points, max pooling"),
}


def cases(size: str, device: str = "cuda") -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = the papers' sizes; "quick" = seconds, for tests.
        device: what to run on; nothing is made for ``cuda`` where there is none.

    Returns:
        Local graphs, region InfoNCE, SLidR's step, steps of distilled detectors.
    """
    if device == "cuda" and not torch.cuda.is_available():
        return []
    made = [*_graphs(size, device), _regions(size, device), *_steps(size, device)]
    return [*made, *_detectors(size, device)]


def _graphs(size: str, device: str) -> list[Case]:
    settings = FULL if size == "full" else QUICK
    found = []
    for name in GRAPHS[size]:
        scene = GraphScene(*settings[name], device=device)
        found.append(Case(f"gpu_local_graph, {name}", scene.words, scene.reference, scene.ours))
    return found


def _regions(size: str, device: str) -> Case:
    images, hw, pairs = (24, (224, 416), 48_000) if size == "full" else (2, (56, 104), 600)
    scene = RegionScene(images, 64, hw, 36_000, pairs, 4096, device=device)
    words = f"{images} x 64 x {hw[0]} x {hw[1]}, 150 ids, {pairs:,} pairs"
    return Case("gpu_region_infonce", words, scene.reference_regions, scene.regions)


def _steps(size: str, device: str) -> list[Case]:
    full = size == "full"
    batch = make_batch((224, 416), 6, 1084, 4) if full else make_batch((64, 96), 2, 60)
    batch = batch.to(device)
    teacher = {"depth": 50} if full else {"depth": 18, "base_channels": 8}
    student: dict[str, Any] = {} if full else DEMO
    words = (
        f"{batch.batch_size} samples, {' x '.join(map(str, batch.images.shape))} images, "
        f"{len(batch.voxel_coords):,} voxels, {len(batch.pair_point):,} pairs"
    )
    authors = authors_step(batch, teacher, student, device)
    defaults = {**teacher, "stride": DEFAULT_STRIDE}
    whole, networks = half_step(batch, defaults, student, device)
    return [
        Case("gpu_slidr_step_bfloat16", f"{words}; reference: authors' form", authors, whole),
        Case("gpu_slidr_networks_alone", f"{words}; reference: our whole step", whole, networks),
    ]


def _detectors(size: str, device: str) -> list[Case]:
    if size == "full":
        found = distilled_step.detector_cases(distilled_step.KITTI, 20_000, device)
    else:
        found = distilled_step.detector_cases(distilled_step.QUICK, 300, device)
    return [replace(case, name=f"gpu_{case.name}") for case in found]


def half_step(
    batch: PairBatch, teacher: dict[str, Any], student: dict[str, Any], device: str
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A training step in bfloat16 as ``--amp`` runs it, and its two networks without the rest.

    Returns:
        The step; the teacher's forward pass, the student's both ways and the optimizer.
    """
    model: SLidR = make_slidr(teacher, student, autocast="bfloat16").to(device)
    model.data_preprocessor.to(device)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.1)
    optimizer = BFloat16OptimWrapper(optimizer=sgd)

    def whole() -> Any:
        return model.train_step({"inputs": batch}, optimizer)

    def networks() -> Tensor:
        for frozen in model.teachers.values():
            frozen(batch)
        with optimizer.optim_context(model):
            points: Any = call_model(model.student, batch, model.student_inputs, "loss", True)
            loss = points.float().square().mean()
        optimizer.update_params(loss)
        return loss.detach()

    return whole, networks
