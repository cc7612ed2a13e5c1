# SPDX-License-Identifier: Apache-2.0
"""A frozen detector's outputs, kept on disk and replayed through a sample's augmentation.

The teacher runs once on each sample as it is in the file. In training its outputs are carried along
with the flips, rotation, scale and translation that mmdet3d recorded for the sample:

- boxes with scores and points with features: exactly, by the arithmetic of mmdet3d's own boxes;
- voxels: their coordinates, where the augmentation maps the grid onto itself (mirrors of a grid
  that lies evenly around the axis, quarter turns of a square one, shifts by whole voxels); any
  other augmentation is an error;
- maps: never, for a turned map is no longer a map of the same cells; an error.

What is replayed is what the teacher said of the sample *as it is in the file*: nothing of what it
would say of the augmented one, and nothing outside of the range that it saw there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lidistill import io
from lidistill.distill.augmentation import LIVE, Augmentation
from lidistill.distill.cache import fingerprint
from lidistill.distill.feature_store import TOOL, FeatureStore
from lidistill.distill.outputs import FeatureMap, SparseVoxels
from lidistill.distill.places import Range, point_range

if TYPE_CHECKING:
    from lidistill.distill.teacher import Teacher


class ReplayCache:
    """Stands between a detector as :class:`lidistill.distill.teacher.Teacher` and its forward pass.

    Filled by ``lidistill cache_teacher``. Taps may be the detector itself (``""``: its boxes), a
    voxel encoder or sparse tensor, or a point backbone with ``fp_xyz`` and ``fp_features``.

    Args:
        folder: of the store.
        budget_gib: disk space to fill.
    """

    def __init__(self, folder: str | Path, budget_gib: float = 100.0) -> None:
        self.folder, self.budget_gib = Path(folder), budget_gib
        self.store: FeatureStore | None = None

    def open(self, teacher: Teacher, create: bool = False) -> FeatureStore:
        """The store of a teacher; checked once.

        Raises:
            DataError: It holds outputs of another teacher or other taps, or there is none.
            ValueError: The teacher changes during training.
        """
        if getattr(teacher, "follows_student", False):
            raise ValueError("a teacher that follows the student cannot be cached; drop its cache")
        if self.store is None:
            parameters = {
                "teacher": fingerprint(teacher.model),
                "taps": {name: tap.path for name, tap in teacher.taps.taps.items()},
                "autocast": teacher.autocast,
                "frame": "as in the file",
            }
            self.store = FeatureStore(self.folder, parameters, self.budget_gib, create)
        return self.store

    def outputs(self, teacher: Teacher, batch: Any) -> Any:
        """Tapped outputs on a raw batch of mmdet3d, in the frame of its augmented samples.

        Raises:
            DataError: A sample was not cached.
        """
        store = self.open(teacher)
        samples = batch["data_samples"]
        device = batch["inputs"]["points"][0].device
        outputs = teacher.taps.outputs_type()
        for tap in teacher.taps.taps:
            records = [read_record(store, token_of(sample), tap) for sample in samples]
            missing = [
                token_of(s) for s, record in zip(samples, records, strict=True) if not record
            ]
            if missing:
                raise io.DataError(
                    f"{len(missing)} samples of this batch are not in the teacher's cache.",
                    path=self.folder, token=missing[0],
                    fix=f"run: {TOOL} CONFIG (it fills the gaps), {LIVE}.",
                )  # fmt: skip
            setattr(outputs, tap, replayed(records, samples, point_range(teacher.model), device))
        return outputs

    def keep(self, teacher: Teacher, batch: Any, outputs: Any) -> bool:
        """Write what a teacher said of samples as they are in the file; False past the budget.

        Raises:
            ValueError: Augmented samples, or a tap that cannot be replayed.
        """
        store = self.open(teacher, create=True)
        tokens = [token_of(sample) for sample in batch["data_samples"]]
        if any(Augmentation.of(sample).steps for sample in batch["data_samples"]):
            raise ValueError("expected samples as they are in the file, got augmented ones")
        for tap in teacher.taps.taps:
            found = records_of(getattr(outputs, tap), tap, len(tokens))
            for token, record in zip(tokens, found, strict=True):
                for name, values in record.items():
                    rows = values.detach().float().cpu().numpy()[None]
                    store.write(token, f"{tap}.{name}", rows, exact=name != "features")
        return all(self.has(store, token, teacher) for token in tokens)

    def has(self, store: FeatureStore, token: str, teacher: Teacher) -> bool:
        """Whether every tap of a sample is there."""
        return all(read_record(store, token, tap) for tap in teacher.taps.taps)


_RECORDS = (("boxes",), ("cells", "shape", "counts", "features"), ("xyz", "features"))


def token_of(sample: Any) -> str:
    """Name of a sample's point file.

    Raises:
        ValueError: the sample does not say which file it came from.
    """
    path = sample.metainfo.get("lidar_path")
    if not path:
        raise ValueError("a teacher cache needs lidar_path among the meta_keys of Pack3DDetInputs")
    return PurePath(path).name


def records_of(output: Any, tap: str, samples: int) -> list[dict[str, Tensor]]:
    """One tapped output taken apart into samples; see ``_RECORDS``.

    Raises:
        ValueError: an output that cannot be replayed, with what to tap instead.
    """
    if isinstance(output, list) and all(hasattr(one, "pred_instances_3d") for one in output):
        found = [one.pred_instances_3d for one in output]
        return [
            {"boxes": torch.cat([one.bboxes_3d.tensor, one.scores_3d[:, None].float(),
                                 one.labels_3d[:, None].float()], 1)}
            for one in found
        ]  # fmt: skip
    if isinstance(output, SparseVoxels) and output.spatial_shape:
        records = []
        for sample in range(samples):
            rows = (output.coords[:, 0] == sample).nonzero().squeeze(1)
            counts = (
                output.counts[rows, None] if output.counts is not None else rows.new_empty(0, 0)
            )
            shape = torch.tensor(output.spatial_shape)[None]
            cells = output.coords[rows, 1:]
            records.append(
                {
                    "cells": cells,
                    "shape": shape,
                    "counts": counts,
                    "features": output.features[rows],
                }
            )
        return records
    if isinstance(output, Mapping) and {"fp_xyz", "fp_features"} <= output.keys():
        pairs = zip(output["fp_xyz"], output["fp_features"], strict=True)
        return [{"xyz": xyz, "features": features.T} for xyz, features in pairs]
    kind = "a map" if isinstance(output, FeatureMap) else type(output).__name__
    raise ValueError(
        f"tap {tap!r} gives {kind}, which no augmentation carries along exactly; a cache replays "
        "boxes (tap ''), voxels (a voxel encoder or sparse tensor) and points (a point backbone). "
        f"Tap one of these, {LIVE}"
    )


def read_record(store: FeatureStore, token: str, tap: str) -> dict[str, Tensor]:
    """What :func:`records_of` gave for one sample; empty where something is missing."""
    for names in _RECORDS:
        if not store.has(token, [f"{tap}.{name}" for name in names]):
            continue
        found = {n: store.read(token, f"{tap}.{n}", exact=n != "features") for n in names}
        if all(values is not None for values in found.values()):
            return {n: torch.from_numpy(np.array(v[0])) for n, v in found.items() if v is not None}
    return {}


def replayed(
    records: Sequence[Mapping[str, Tensor]],
    samples: Sequence[Any],
    covered: Range | None,
    device: Any,
) -> Any:
    """The tapped output of a batch in the frame of its augmented samples.

    Args:
        records: of each sample, of one kind.
        samples: data samples of mmdet3d.
        covered: range that the teacher voxelizes; for voxels.
        device: of the result.
    """
    augmentations = [Augmentation.of(sample) for sample in samples]
    pairs = list(zip(records, augmentations, strict=True))
    if "boxes" in records[0]:
        moved = [steps.boxes(record["boxes"][:, :-2]) for record, steps in pairs]
        return [
            _prediction(sample, boxes.to(device), record["boxes"][:, -2:].to(device))
            for sample, boxes, record in zip(samples, moved, records, strict=True)
        ]
    if "xyz" in records[0]:
        xyz = torch.stack([steps.points(record["xyz"]) for record, steps in pairs])
        features = torch.stack([record["features"].float().T for record in records])
        return {"fp_xyz": xyz.to(device), "fp_features": features.to(device)}
    if covered is None:
        raise ValueError(
            f"voxels of a teacher without a voxel layer cannot be replayed; {LIVE[3:]}"
        )
    shape = tuple(int(size) for size in records[0]["shape"][0])
    coords, features, counts = [], [], []
    for sample, (record, steps) in enumerate(pairs):
        cells, inside = steps.voxels(record["cells"].long(), shape, covered)
        batch = torch.full((int(inside.sum()), 1), sample)
        coords.append(torch.cat([batch, cells[inside]], 1).int())
        features.append(record["features"][inside].float())
        counts.append(record["counts"][inside] if record["counts"].numel() else record["counts"])
    known = all(len(one) == len(cells) for one, cells in zip(counts, coords, strict=True))
    return SparseVoxels(
        torch.cat(features).to(device), torch.cat(coords).to(device), shape, len(samples),
        torch.cat(counts)[:, 0].to(device) if known and counts[0].dim() == 2 else None,
    )  # fmt: skip


def _prediction(sample: Any, boxes: Tensor, scores_labels: Tensor) -> Any:
    from mmengine.structures import InstanceData

    kind = sample.metainfo["box_type_3d"]
    if kind.__name__ != "LiDARInstance3DBoxes":
        raise ValueError(f"only boxes in the LiDAR's frame are replayed, got {kind.__name__}")
    prediction = sample.new()
    prediction.pred_instances_3d = InstanceData(
        bboxes_3d=kind(boxes, box_dim=boxes.shape[1]),
        scores_3d=scores_labels[:, 0],
        labels_3d=scores_labels[:, 1].long(),
    )
    return prediction
