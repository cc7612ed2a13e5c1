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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidistill import io
from lidistill.distill.caches.augmentation import LIVE, Augmentation
from lidistill.distill.caches.images import fingerprint
from lidistill.distill.caches.settings import settings_of
from lidistill.distill.caches.store import TOOL, FeatureStore
from lidistill.distill.detectors.places import Range, point_range
from lidistill.distill.outputs import FeatureMap, SparseVoxels
from lidistill.distill.taps import TappedModel


class ReplayCache:
    """Stands between a detector as :class:`lidistill.distill.teacher.Teacher` and its forward pass.

    Filled by ``lidistill cache_teacher``. Taps may be the detector itself (``""``: its boxes), a
    voxel encoder or sparse tensor, or a point backbone with ``fp_xyz`` and ``fp_features``.

    Args:
        folder: of the store.
        budget_gib: disk space to fill.
        inputs: JSON values: what the samples go through, see
            :func:`lidistill.engine.configs.caches.note_inputs`; None says nothing of it.
    """

    def __init__(self, folder: str | Path, budget_gib: float = 100.0, inputs: Any = None) -> None:
        self.folder, self.budget_gib, self.inputs = Path(folder), budget_gib, inputs
        self.store: FeatureStore | None = None

    def open(self, teacher: TappedModel, create: bool = False) -> FeatureStore:
        """The store of a teacher; checked once.

        Raises:
            DataError: It holds outputs of another teacher, other taps or other samples, or there
                is none.
            ValueError: The teacher changes during training.
        """
        if getattr(teacher, "follows_student", False):
            raise ValueError("a teacher that follows the student cannot be cached; drop its cache")
        if self.store is None:
            parameters = {
                "teacher": fingerprint(teacher.model),
                "settings": settings_of(teacher.model),
                "taps": {name: str(tap) for name, tap in teacher.taps.taps.items()},
                "autocast": teacher.autocast,
                "frame": "as in the file",
            }
            if self.inputs is not None:
                parameters["inputs"] = self.inputs
            self.store = FeatureStore(self.folder, parameters, self.budget_gib, create)
        return self.store

    def outputs(self, teacher: TappedModel, batch: Any) -> Any:
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
            grid = grid_of(teacher.model), point_range(teacher.model)
            setattr(outputs, tap, replayed(records, samples, grid, device))
        return outputs

    def keep(self, teacher: TappedModel, batch: Any, outputs: Any) -> bool:
        """Write what a teacher said of samples as they are in the file; False past the budget.

        Raises:
            ValueError: Augmented samples, or a tap that cannot be replayed.
        """
        store = self.open(teacher, create=True)
        tokens = [token_of(sample) for sample in batch["data_samples"]]
        if any(Augmentation.of(sample).steps for sample in batch["data_samples"]):
            raise ValueError("expected samples as they are in the file, got augmented ones")
        for tap in teacher.taps.taps:
            found = records_of(getattr(outputs, tap), tap, len(tokens), grid_of(teacher.model))
            for token, record in zip(tokens, found, strict=True):
                for name, values in record.items():
                    rows = values.detach().float().cpu().numpy()[None]
                    store.write(token, f"{tap}.{name}", rows, exact=name != "features")
        return all(self.has(store, token, teacher) for token in tokens)

    def has(self, store: FeatureStore, token: str, teacher: TappedModel) -> bool:
        """Whether every tap of a sample is there."""
        return all(read_record(store, token, tap) for tap in teacher.taps.taps)


Grid = tuple[tuple[int, ...], Range | None]
_RECORDS = (("boxes",), ("cells", "shape", "counts", "features"), ("xyz", "features"))


def token_of(sample: Any) -> str:
    """End of a sample's path: drives number their scans alike, and data roots move.

    Args:
        sample: of mmdet3d, or its metainfo.

    Raises:
        ValueError: the sample does not say which file it came from.
    """
    path = (sample if isinstance(sample, Mapping) else sample.metainfo).get("lidar_path")
    if not path:
        raise ValueError("a teacher cache needs lidar_path among the meta_keys of Pack3DDetInputs")
    return "/".join(PurePath(path).parts[-4:])


def grid_of(model: Any) -> tuple[int, ...]:
    """Cells along z, y, x that a detector voxelizes into; empty for one that does not."""
    layer = getattr(getattr(model, "data_preprocessor", None), "voxel_layer", None)
    return tuple(int(size) for size in getattr(layer, "grid_shape", ()))[::-1]


def records_of(
    output: Any, tap: str, samples: int, grid: tuple[int, ...] = ()
) -> list[dict[str, Tensor]]:
    """One tapped output taken apart into samples; see ``_RECORDS``.

    Args:
        output: of a tap.
        tap: its name.
        samples: of the batch.
        grid: see :func:`grid_of`.

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
    if isinstance(output, SparseVoxels):
        _check_grid(output.spatial_shape, grid, tap)
        return [_voxels_of(output, sample) for sample in range(samples)]
    if isinstance(output, Mapping) and {"fp_xyz", "fp_features"} <= output.keys():
        pairs = zip(output["fp_xyz"], output["fp_features"], strict=True)
        return [{"xyz": xyz, "features": features.T} for xyz, features in pairs]
    kind = "a map" if isinstance(output, FeatureMap) else type(output).__name__
    raise ValueError(
        f"tap {tap!r} gives {kind}, which no augmentation carries along exactly; a cache replays "
        "boxes (tap ''), voxels (a voxel encoder or sparse tensor) and points (a point backbone). "
        f"Tap one of these, {LIVE}"
    )


def _check_grid(shape: tuple[int, ...], grid: tuple[int, ...], tap: str) -> None:
    """Cells of a strided convolution lie around every second voxel: mirrored, around the others."""
    if not grid or shape[1:] != grid[1:] or shape[0] not in (grid[0], grid[0] + 1):
        raise ValueError(
            f"tap {tap!r} gives voxels on a grid of {list(shape)} cells (z, y, x) and the teacher "
            f"voxelizes into {list(grid)}; only the cells of its own voxels fall onto each other. "
            f"Tap the voxel encoder or a sparse layer before the first stride, {LIVE}"
        )


def _voxels_of(output: SparseVoxels, sample: int) -> dict[str, Tensor]:
    rows = (output.coords[:, 0] == sample).nonzero().squeeze(1)
    return {
        "cells": output.coords[rows, 1:],
        "shape": torch.tensor(output.spatial_shape)[None],
        "counts": rows.new_zeros(0, 1) if output.counts is None else output.counts[rows, None],
        "features": output.features[rows],
    }


def read_record(store: FeatureStore, token: str, tap: str) -> dict[str, Tensor]:
    """What :func:`records_of` gave for one sample; empty where something is missing.

    Raises:
        DataError: its files do not belong together.
    """
    for names in _RECORDS:
        if not store.has(token, [f"{tap}.{name}" for name in names]):
            continue
        found = {n: store.read(token, f"{tap}.{n}", exact=n != "features") for n in names}
        if any(values is None for values in found.values()):
            continue
        _check_record({n: v.shape for n, v in found.items() if v is not None}, store, token, tap)
        return {n: torch.from_numpy(np.array(v[0])) for n, v in found.items() if v is not None}
    return {}


def _check_record(
    shapes: Mapping[str, tuple[int, ...]], store: FeatureStore, token: str, tap: str
) -> None:
    """One entry a place; files of earlier versions have no check sum that says so."""
    places = shapes.get("cells", shapes.get("xyz", shapes.get("boxes", (1, 0, 0))))[1]
    entries = {"shape": (1,), "counts": (0, places)}
    widths: dict[str, Sequence[int]] = {"cells": (3,), "shape": (3,), "counts": (1,), "xyz": (3,)}
    widths["boxes"] = range(9, 16)  # mmdet3d's 7 and more, score, label
    for name, (one, rows, width) in shapes.items():
        known = width in widths.get(name, (width,))
        if one != 1 or rows not in entries.get(name, (places,)) or not known:
            raise io.DataError(
                f"This part of the teacher cache has the shape {(one, rows, width)}, which does "
                f"not fit the {places} places of its sample.",
                path=store.path(token, f"{tap}.{name}"),
                token=token,
                fix=f"delete this file and run: {TOOL} CONFIG (it fills the gaps).",
            )


def replayed(
    records: Sequence[Mapping[str, Tensor]],
    samples: Sequence[Any],
    grid: Grid,
    device: Any,
) -> Any:
    """The tapped output of a batch in the frame of its augmented samples.

    Args:
        records: of each sample, of one kind.
        samples: data samples of mmdet3d.
        grid: cells (z, y, x) and range (metres) that the teacher voxelizes; for voxels.
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
    return _voxels(pairs, grid, device)


def _voxels(
    pairs: Sequence[tuple[Mapping[str, Tensor], Augmentation]], grid: Grid, device: Any
) -> SparseVoxels:
    """Voxels of a batch where their samples' augmentations put them."""
    shape = tuple(int(size) for size in pairs[0][0]["shape"][0])
    cells_of_grid, covered = grid
    coords, features, counts = [], [], []
    for sample, (record, steps) in enumerate(pairs):
        cells, inside = steps.voxels(record["cells"].long(), cells_of_grid, covered or ())
        batch = torch.full((int(inside.sum()), 1), sample)
        coords.append(torch.cat([batch, cells[inside]], 1).int())
        features.append(record["features"][inside].float())
        if len(record["counts"]) == len(inside):  # else the tap has none
            counts.append(record["counts"][inside, 0])
    return SparseVoxels(
        torch.cat(features).to(device),
        torch.cat(coords).to(device),
        shape,
        len(pairs),
        torch.cat(counts).to(device) if len(counts) == len(pairs) else None,
    )


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
