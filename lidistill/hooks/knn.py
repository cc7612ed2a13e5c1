# SPDX-License-Identifier: Apache-2.0
"""The nearest-neighbour score of a student in the middle of its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch.utils.data import DataLoader

from lidistill.datasets.frame import PairBatch
from lidistill.distill.distiller import Distiller
from lidistill.evaluation.label_maps import NUSCENES_LABELS, LabelSet
from lidistill.evaluation.probes.knn import knn_probe
from lidistill.evaluation.probes.result import ProbeSettings
from lidistill.evaluation.probes.samples import frame_features, voxels_to_points


def knn_score(runner: Any, model: Distiller, knn: Mapping[str, Any]) -> float:
    """Mean IoU by the votes of the nearest labelled training points.

    Classes are those of the config's own probe (``test_cfg.classes``), where its pipeline maps
    labels itself; nuScenes' 16 where it names none.

    The student runs with its running statistics; ``lidistill test`` recomputes them, so its score
    is not this one. One process scores all frames, however many train.

    Args:
        runner: mmengine's; builds the data loaders.
        model: left in eval mode.
        knn: ``train`` and ``val`` data loaders or their configs, ``settings``.
    """
    model.eval()
    device = next(model.parameters()).device

    def batches(loader: Any) -> Iterator[PairBatch]:
        if isinstance(loader, dict):
            loader = runner.build_dataloader(loader, seed=0)
            if get_world_size() > 1:  # its sampler gives this process a share
                loader = DataLoader(
                    loader.dataset,
                    loader.batch_size,
                    num_workers=loader.num_workers,
                    collate_fn=loader.collate_fn,
                )
        for data in loader:
            yield data["inputs"].to(device)

    def features(batch: PairBatch) -> torch.Tensor:
        return voxels_to_points(model(batch, mode="predict"), batch.point_to_voxel)

    classes = (runner.cfg.get("test_cfg") or {}).get("classes")
    labels = NUSCENES_LABELS if classes is None else LabelSet(tuple(classes))
    result = knn_probe(
        frame_features(batches(knn["train"]), features, labels.table),
        frame_features(batches(knn["val"]), features, labels.table),
        len(labels.classes),
        ProbeSettings(**knn.get("settings", {})),
    )
    return result.miou
