# SPDX-License-Identifier: Apache-2.0
"""Labelled points of many frames, thinned so that a probe can be fitted to them in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidistill.evaluation.label_maps import IGNORE, map_labels

FrameFeatures = tuple[Tensor, Tensor]
"""Features (N, C) float and labels (N,) integer of the points of one frame."""

RAW_COLUMNS = ("intensity", "height", "range")


@dataclass
class PointSample:
    """Points drawn from frames, each standing for a number of points like it.

    Attributes:
        features: (M, C) float32.
        labels: (M,) int64, none of them ignored.
        stands_for: (M,) float32, points of the same class and frame per drawn point; sums to
            ``points``.
        frames: number of frames read.
        points: number of labelled points in them.
    """

    features: Tensor
    labels: Tensor
    stands_for: Tensor
    frames: int
    points: int

    def class_counts(self, num_classes: int) -> Tensor:
        """Labelled points of each class in the frames read: (num_classes,) float32."""
        return torch.zeros(num_classes).index_add_(0, self.labels, self.stands_for)


def sample_points(
    frames: Iterable[FrameFeatures], per_class: int, seed: int = 0, ignore: int | None = IGNORE
) -> PointSample:
    """Draw at most ``per_class`` points of each class from each frame.

    The draw depends on the seed, the frame's position and its labels only, so two feature sets of
    the same frames are probed at the same points.

    Args:
        frames: features and labels of each frame.
        per_class: points of one class kept from one frame.
        seed: of the draw.
        ignore: class that is left out.

    Raises:
        ValueError: no labelled point at all, NaN or infinite features, or unequal lengths.
    """
    features, labels, stands_for = [], [], []
    number, points = 0, 0
    for number, (frame_features, frame_labels) in enumerate(checked(frames), start=1):
        classes = frame_labels.cpu().numpy()
        rng = np.random.default_rng([seed, number])
        for label in np.unique(classes):
            if label == ignore:
                continue
            found = np.flatnonzero(classes == label)
            drawn = np.sort(rng.choice(found, min(per_class, len(found)), replace=False))
            points += len(found)
            features.append(frame_features[torch.from_numpy(drawn)].float())
            labels.append(torch.full((len(drawn),), int(label), dtype=torch.int64))
            stands_for.append(torch.full((len(drawn),), len(found) / len(drawn)))
    return _joined(features, labels, stands_for, number, points)


def sample_points_uniformly(
    frames: Iterable[FrameFeatures], per_frame: int, seed: int = 0, ignore: int | None = IGNORE
) -> PointSample:
    """Draw at most ``per_frame`` labelled points from each frame, whatever their class.

    Arguments and errors as :func:`sample_points`; rare classes may get no point.
    """
    features, labels, stands_for = [], [], []
    number, points = 0, 0
    for number, (frame_features, frame_labels) in enumerate(checked(frames), start=1):
        classes = frame_labels.cpu().numpy()
        found = np.flatnonzero(classes != ignore) if ignore is not None else np.arange(len(classes))
        if not len(found):
            continue
        rng = np.random.default_rng([seed, number])
        drawn = np.sort(rng.choice(found, min(per_frame, len(found)), replace=False))
        points += len(found)
        features.append(frame_features[torch.from_numpy(drawn)].float())
        labels.append(frame_labels[torch.from_numpy(drawn)])
        stands_for.append(torch.full((len(drawn),), len(found) / len(drawn)))
    return _joined(features, labels, stands_for, number, points)


def _joined(
    features: list[Tensor], labels: list[Tensor], stands_for: list[Tensor], frames: int, points: int
) -> PointSample:
    """The draws of all frames as one sample; an error where there is none."""
    if not features:
        raise ValueError(
            f"no labelled point in {frames} frames: a probe needs frames with lidarseg labels "
            "(info file with pts_semantic_mask_path, pipeline with LoadPointLabels)"
        )
    return PointSample(
        torch.cat(features), torch.cat(labels), torch.cat(stands_for), frames=frames, points=points
    )


def checked(frames: Iterable[FrameFeatures]) -> Iterator[FrameFeatures]:
    """Pass frames on, detached and on the CPU; raise where features and labels do not fit."""
    for number, frame in enumerate(frames):
        features, labels = (part.detach().cpu() for part in frame)
        if features.ndim != 2 or len(features) != len(labels):
            raise ValueError(
                f"frame {number}: expected features (N, C) and labels (N,), "
                f"got {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        if not bool(torch.isfinite(features).all()):
            raise ValueError(
                f"frame {number}: features hold NaN or infinite values; "
                "did pretraining diverge, or was batch norm never given statistics?"
            )
        yield features, labels.long()


def frame_features(
    batches: Iterable[Any], features: Callable[[Any], Tensor], label_table: np.ndarray | None = None
) -> Iterator[FrameFeatures]:
    """Run a frozen model over batches and hand out one frame at a time.

    Args:
        batches: ``PairBatch`` with ``point_batch`` (sumN,), ``point_labels`` (sumN,) and
            ``batch_size``.
        features: from a batch to features (sumN, C) of its points; called without gradient.
        label_table: maps the stored labels to classes, for instance
            :func:`~lidistill.evaluation.nuscenes_label_table`; None where they are mapped already.

    Raises:
        ValueError: a batch without labels.
    """
    for batch in batches:
        if batch.point_labels is None:
            raise ValueError(
                f"batch {getattr(batch, 'tokens', '')} has no point labels: put LoadPointLabels "
                "into the pipeline of the probe's data set"
            )
        with torch.no_grad():
            values = features(batch)
        labels = batch.point_labels.cpu()
        if label_table is not None:
            labels = torch.from_numpy(map_labels(labels.numpy(), label_table))
        for frame in range(batch.batch_size):
            rows = (batch.point_batch == frame).cpu()
            yield values[rows.to(values.device)], labels[rows].long()


def raw_inputs(points: Tensor, columns: tuple[str, ...] = ("intensity", "height")) -> Tensor:
    """What a point says without any network: the inputs of the raw-input control.

    Args:
        points: (N, 4+) x y z in metres, intensity; LiDAR frame.
        columns: of :data:`RAW_COLUMNS`. Range is the horizontal distance to the sensor.

    Returns:
        (N, len(columns)) float32.
    """
    values = {
        "intensity": points[:, 3],
        "height": points[:, 2],
        "range": torch.linalg.vector_norm(points[:, :2], dim=1),
    }
    unknown = set(columns) - set(values)
    if unknown or not columns:
        raise ValueError(f"unknown columns {sorted(unknown)}; choose of {', '.join(RAW_COLUMNS)}")
    return torch.stack([values[name].float() for name in columns], dim=1)


def voxels_to_points(voxel_features: Tensor, point_to_voxel: Tensor) -> Tensor:
    """Give each point the features of its voxel; zeros where a point lies outside the grid.

    Args:
        voxel_features: (V, C).
        point_to_voxel: (N,) row of the voxel, -1 outside.

    Returns:
        (N, C).
    """
    inside = point_to_voxel >= 0
    points = voxel_features.new_zeros(len(point_to_voxel), voxel_features.shape[1])
    points[inside] = voxel_features[point_to_voxel[inside]]
    return points
