# SPDX-License-Identifier: Apache-2.0
"""Probes as mmengine's test loops, and their controls, on the student of a Distiller."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner.base_loop import BaseLoop

from lidistill.datasets.frame import PairBatch
from lidistill.distill.distiller import Distiller
from lidistill.evaluation.label_maps import NUSCENES_LABELS, LabelSet
from lidistill.evaluation.probes.batch_norm import calibrate_batch_norm
from lidistill.evaluation.probes.knn import knn_probe
from lidistill.evaluation.probes.linear import linear_probe, mlp_probe
from lidistill.evaluation.probes.result import ProbeResult, ProbeSettings
from lidistill.evaluation.probes.samples import frame_features, raw_inputs, voxels_to_points
from lidistill.io import write_json
from lidistill.registry import LOOPS

CALIBRATION_BATCHES = 40
BATCH_NORM_WORDS = (
    f"statistics recomputed on {CALIBRATION_BATCHES} evenly spaced training frames, in every row"
)


class Batches:
    """The batches of a data loader on a device, without the loader's dictionary around them."""

    def __init__(self, loader: Iterable[dict[str, PairBatch]], device: torch.device | str) -> None:
        self.loader, self.device = loader, device

    def __iter__(self) -> Iterator[PairBatch]:
        for data in self.loader:
            yield data["inputs"].to(self.device)

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]


def probe_student(
    model: Distiller,
    train: Collection[PairBatch] | Batches,
    val: Iterable[PairBatch],
    settings: ProbeSettings | None = None,
    probe: Callable[..., ProbeResult] = linear_probe,
    labels: LabelSet = NUSCENES_LABELS,
) -> ProbeResult:
    """Probe the student's point features, on nuScenes' 16 lidarseg classes if nothing else is said.

    The student's batch-norm statistics are recomputed on the training frames first, for random,
    pretrained and control networks alike, so that none is favoured by how its statistics came.
    The model itself is not changed.

    Args:
        model: its student gives (V, C) voxel features.
        train: batches with point labels; read twice.
        val: batches with point labels.
        settings: budget and rules of the probe.
        probe: :func:`~lidistill.evaluation.probes.linear.linear_probe`, or
            :func:`~lidistill.evaluation.probes.knn.knn_probe`, which trains nothing.
        labels: classes, and how the batches' labels map to them.
    """
    model = copy.deepcopy(model).eval()

    def features(batch: PairBatch) -> torch.Tensor:
        voxels = model(batch, mode="predict")
        return voxels_to_points(voxels, batch.point_to_voxel)

    calibrate_student(model, train)
    return probe(
        frame_features(train, features, labels.table),
        frame_features(val, features, labels.table),
        len(labels.classes),
        settings,
        batch_norm=BATCH_NORM_WORDS,
    )


def calibrate_student(model: Distiller, train: Collection[PairBatch] | Batches) -> None:
    """Recompute the student's batch-norm statistics on evenly spaced training batches, in place."""
    count = min(CALIBRATION_BATCHES, len(train))
    places = {len(train) * number // count for number in range(count)}
    chosen = (batch for place, batch in enumerate(train) if place in places)
    calibrate_batch_norm(
        model.student, chosen, lambda _student, batch: model(batch, mode="predict")
    )


def probe_raw_inputs(
    train: Iterable[PairBatch],
    val: Iterable[PairBatch],
    settings: ProbeSettings | None = None,
    labels: LabelSet = NUSCENES_LABELS,
) -> ProbeResult:
    """Control: an MLP on what the network is fed, intensity and height of each point."""

    def features(batch: PairBatch) -> torch.Tensor:
        return raw_inputs(batch.points)

    return mlp_probe(
        frame_features(train, features, labels.table),
        frame_features(val, features, labels.table),
        len(labels.classes),
        settings,
        inputs="intensity and height",
    )


def iou_by_class(result: ProbeResult, labels: LabelSet = NUSCENES_LABELS) -> dict[str, float]:
    """Class name -> IoU, without the ignored class; NaN where a class was not scored."""
    return dict(zip(labels.classes[1:], map(float, result.iou[1:]), strict=True))


@LOOPS.register_module()
class LinearProbeLoop(BaseLoop):
    """``lidistill test``: probe a pretraining checkpoint.

    Args:
        runner: mmengine's.
        dataloader: labelled validation frames.
        evaluator: unused; the probe scores itself.
        train_dataloader: labelled training frames, without augmentation.
        settings: see :class:`~lidistill.evaluation.probes.result.ProbeSettings`.
        classes: names, position = class, where the pipeline maps labels itself (SemanticKITTI);
            None for nuScenes' stored labels.
    """

    name = "linear_probe"
    probe = staticmethod(linear_probe)

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        train_dataloader: Any,
        evaluator: Any = None,
        settings: dict[str, Any] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(runner, dataloader)
        self.labels = NUSCENES_LABELS if classes is None else LabelSet(tuple(classes))
        self.train_dataloader = (
            runner.build_dataloader(train_dataloader, seed=runner.seed)
            if isinstance(train_dataloader, dict)
            else train_dataloader
        )
        self.settings = ProbeSettings(**(settings or {}))

    def run(self) -> dict[str, float]:
        """Probe, log, and write ``<name>.json`` into the work directory."""
        model = self.runner.model
        model = model.module if is_model_wrapper(model) else model
        device = next(model.parameters()).device
        train = Batches(self.train_dataloader, device)
        val = Batches(self.dataloader, device)
        result = probe_student(model, train, val, self.settings, self.probe, self.labels)
        metrics = {f"{self.name}/mIoU": result.miou}
        metrics |= {
            f"{self.name}/{name}": value
            for name, value in iou_by_class(result, self.labels).items()
        }
        write_json(
            Path(self.runner.work_dir) / f"{self.name}.json",
            {"protocol": result.protocol, **metrics},
        )
        self.runner.logger.info(f"{result.protocol}: mIoU {result.miou:.4f}")
        return metrics


@LOOPS.register_module()
class KnnProbeLoop(LinearProbeLoop):
    """``lidistill test --probe knn``: the nearest-neighbour probe of a pretraining checkpoint."""

    name = "knn_probe"
    probe = staticmethod(knn_probe)
