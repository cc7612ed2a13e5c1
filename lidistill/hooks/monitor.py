# SPDX-License-Identifier: Apache-2.0
"""Is pretraining going somewhere? Measures and pictures that need no labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from lidistill.datasets.frame import PairBatch
from lidistill.datasets.sampler import Draw
from lidistill.distill.calls import call_model
from lidistill.distill.distiller import Distiller
from lidistill.distill.image_to_lidar import View, views
from lidistill.distill.trace import without_trace
from lidistill.evaluation.probes.embedding_quality import embedding_quality
from lidistill.hooks.knn import knn_score
from lidistill.registry import HOOKS
from lidistill.visualization.embeddings import embedding_picture


@HOOKS.register_module()
class MonitorHook(Hook):
    """Watch the embeddings of an image-to-LiDAR method; what is trained stays the same bit for bit.

    - every ``interval`` iterations: alignment, uniformity and effective rank of the batch's matched
      embeddings (those that the loss compares; no forward pass of its own), and what the method
      observed, such as the share of regions with points;
    - every ``pictures`` iterations: features of the first training sample as colours, points from
      above beside the cameras;
    - every ``knn["interval"]`` iterations: the nearest-neighbour score on labelled frames.

    All go to mmengine's visualizer (scalars.json and TensorBoard in the base configs), the numbers
    also to the log. Rank 0 alone watches, its own batches; the other ranks wait where it takes
    longer.

    Args:
        interval: iterations between two looks; the first iteration counts as one.
        pictures: iterations between two pictures; None for ten intervals, 0 for none.
        knn: ``interval``, ``train`` and ``val`` (data loaders of labelled frames, as
            ``probe_train_dataloader``), optionally ``settings`` of
            :class:`lidistill.evaluation.probes.result.ProbeSettings`; None for no score.
    """

    priority = "LOW"  # after the audit, before the checkpoint

    def __init__(
        self, interval: int = 200, pictures: int | None = None, knn: Mapping[str, Any] | None = None
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval: expected iterations >= 1, got {interval}")
        missing = {"interval", "train", "val"} - set(knn or {})
        if knn is not None and missing:
            raise ValueError(f"knn: expected interval, train and val; missing: {sorted(missing)}")
        self.interval = interval
        self.pictures = 10 * interval if pictures is None else pictures
        self.knn = dict(knn or {})

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Ask the method to leave its embeddings."""
        model = _distiller(runner)
        if model is not None and self._due(runner, self.interval):
            model.watched = {}

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look."""
        model = _distiller(runner)
        if model is None:
            return
        step = runner.iter + 1
        scalars: dict[str, float] = {}
        if model.watched is not None:
            for suffix, (student, teacher) in model.watched.items():
                values = embedding_quality(student, teacher)
                scalars |= {f"{name}{suffix}": value for name, value in values.items()}
            scalars |= model.observations
            model.watched = None
        if self.knn and self._due(runner, self.knn["interval"]):
            with without_trace(model):
                scalars["knn_mIoU"] = knn_score(runner, model, self.knn)
        if scalars:
            _publish(runner, scalars, step)
        if self._due(runner, self.pictures) and _has_views(model):
            with without_trace(model), torch.no_grad():
                picture = draw(model, first_sample(runner))
            runner.visualizer.add_image("embeddings", picture, step)

    def _due(self, runner: Any, interval: int) -> bool:
        first = runner.iter == 0 and interval > 0
        return is_main_process() and (first or self.every_n_train_iters(runner, interval))


def first_sample(runner: Any) -> Any:
    """The first sample of the training data as a batch, augmented in the same way every time."""
    loader = runner.train_dataloader
    return loader.collate_fn([loader.dataset[Draw(0, 0)]])["inputs"]


def draw(model: Distiller, batch: PairBatch) -> Any:
    """Picture of one batch; the student runs with its running statistics.

    Returns:
        (H, W, 3) uint8.
    """
    model.eval()
    batch = batch.to(next(model.parameters()).device)
    with model.student_taps.capture(model.student) as student:
        call_model(model.student, batch, model.student_inputs, "tensor", training=False)
    teachers = {n: teacher(model.teacher_batch(n, batch)) for n, teacher in model.teachers.items()}
    view: View = next(iter(views(model.connectors, student, teachers).values()))
    seen = batch.point_to_voxel >= 0
    rows = view.points[batch.point_to_voxel[seen]]
    return embedding_picture(
        batch.points[seen].cpu().numpy(), rows.cpu().numpy(), view.pixels.cpu().numpy()
    )


def _distiller(runner: Any) -> Distiller | None:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model if isinstance(model, Distiller) else None


def _has_views(model: Distiller) -> bool:
    """Whether the model is an image-to-LiDAR method."""
    heads = [name.split("_")[0] for name in model.connectors]
    return {"point", "image"} <= set(heads) and "voxels" in model.student_taps.taps


def _publish(runner: Any, scalars: Mapping[str, float], step: int) -> None:
    runner.visualizer.add_scalars({f"monitor/{k}": v for k, v in scalars.items()}, step=step)
    words = ", ".join(f"{name} {value:.4g}" for name, value in scalars.items())
    runner.logger.info(f"monitor of iteration {step}: {words}")
