# SPDX-License-Identifier: Apache-2.0
"""mIoU as a metric of mmengine, its protocol named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from lidistill.evaluation.label_maps import IGNORE, NUSCENES_CLASSES
from lidistill.evaluation.miou import PROTOCOLS, ConfusionMatrix, Protocol, iou_from_counts
from lidistill.registry import METRICS


@METRICS.register_module()
class LidarSegMetric(BaseMetric):
    """Mean and per-class intersection over union of point labels.

    Args:
        classes: names, position = class.
        protocol: how mIoU is read, see :mod:`lidistill.evaluation.miou`.
        ignore: class that is not scored.

    Attributes:
        outcome: of the last evaluation: what :meth:`compute_metrics` returned with the protocol in
            words, counts and points; ready for JSON.
    """

    default_prefix = "segmentation"

    def __init__(
        self,
        classes: Sequence[str] = NUSCENES_CLASSES,
        protocol: Protocol = "nuscenes",
        ignore: int = IGNORE,
    ) -> None:
        super().__init__()
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
        self.classes, self.protocol, self.ignore = tuple(classes), protocol, ignore
        self.outcome: dict[str, Any] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the points of each frame that ``Segmentor`` predicted."""
        for sample in data_samples:
            if sample["true"] is None:
                raise ValueError(
                    f"frame {sample['token']} has no labels to score with: put LoadPointLabels() "
                    "and MapPointLabels() into the pipeline"
                )
            matrix = ConfusionMatrix(len(self.classes), self.ignore)
            matrix.update(sample["true"], sample["predicted"])
            self.results.append(matrix.counts)

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """``mIoU`` and one entry a class; fills :attr:`outcome`."""
        counts = np.sum(results, axis=0)
        counts[self.ignore] = 0
        iou = iou_from_counts(counts, self.ignore, self.protocol)
        scored = [index for index in range(len(self.classes)) if index != self.ignore]
        metrics = {"mIoU": iou.miou}
        metrics |= {self.classes[index]: float(iou.per_class[index]) for index in scored}
        points = int(counts.sum())
        absent = iou.absent_in_words(self.classes)
        if absent:
            print_log(absent, "current")
        self.outcome = {
            "protocol": f"every labelled point ({points:,}) of {len(results)} validation frames; "
            f"{iou.protocol}" + (f"; {absent}" if absent else ""),
            "absent": [self.classes[index] for index in iou.absent],
            "mIoU": none_for_nan(iou.miou),
            "iou": {name: none_for_nan(metrics[name]) for name in metrics if name != "mIoU"},
            "frames": len(results),
            "points": points,
            "confusion": counts.tolist(),
        }
        return metrics


def none_for_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
