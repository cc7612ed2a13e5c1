# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's own data sets in our order: seeded draws, scenes, boxes that hold points."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lidistill.converters.infos import command_for, load_infos
from lidistill.datasets.balance import balanced_rows
from lidistill.datasets.foreign import build_frames, named
from lidistill.datasets.labelled import Labelled, Scenes, choose_scenes, labelled_mask
from lidistill.geometry.boxes import points_in_boxes
from lidistill.geometry.frames import apply_transform
from lidistill.io import DataError
from lidistill.registry import DATASETS, TRANSFORMS


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed what foreign transforms draw from (``random``, numpy, torch); then put all back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- theirs, not ours
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@DATASETS.register_module()
class SeededDetections(Dataset):
    """A data set of mmdet3d whose random augmentations depend on the draw alone.

    With :class:`lidistill.datasets.sampler.SeededSampler` a run sees the same data whoever asks,
    so a killed run continues exactly, and two runs that differ in weights only are paired.

    Args:
        dataset: config of the data set, or the data set; its strings mean mmdet3d's classes.
        scenes: see :func:`lidistill.datasets.labelled.choose_scenes`; None takes all. Needs
            ``scene_name`` in the info file.
        labelled: see :func:`lidistill.datasets.labelled.labelled_mask`: frames outside of it are
            kept without their labels, for a Distiller whose teacher knows them; None keeps all
            labels.
        keep_unlabelled: False leaves these frames out: the twin without distillation, also where
            frames name no scenes (KITTI).
        balanced: repeat frames so that every class is drawn equally often, see
            :func:`lidistill.datasets.balance.balanced_rows`. Changes the number of frames.
    """

    def __init__(
        self,
        dataset: Dataset | Mapping[str, Any],
        scenes: Scenes | None = None,
        labelled: Labelled | None = None,
        balanced: bool = False,
        keep_unlabelled: bool = True,
    ) -> None:
        self.dataset: Any = build_frames(dataset) if isinstance(dataset, Mapping) else dataset
        self.indices = self._indices(scenes)
        self.labelled = [True] * len(self.indices)
        if labelled is not None:
            infos = [self._info(index) for index in self.indices]
            self.labelled = labelled_mask(infos, labelled)
        if not keep_unlabelled:
            self.indices = [
                row for row, known in zip(self.indices, self.labelled, strict=True) if known
            ]
            self.labelled = [True] * len(self.indices)
        if balanced:
            rows = balanced_rows([self._classes(row) for row in range(len(self.indices))])
            self.indices = [self.indices[row] for row in rows]
            self.labelled = [self.labelled[row] for row in rows]

    def _classes(self, row: int) -> set[int] | None:
        """Classes of a frame's boxes that are taught; None for a frame without labels."""
        if not self.labelled[row]:
            return None
        return {label for label in self.dataset.get_cat_ids(self.indices[row]) if label >= 0}

    def _indices(self, scenes: Scenes | None) -> list[int]:
        everything = list(range(len(self.dataset)))
        if scenes is None:
            return everything
        names = [str(self._info(index).get("scene_name") or "") for index in everything]
        if not all(names):
            raise ValueError("the info file names no scenes; make it with lidistill create_data")
        chosen = set(choose_scenes(list(dict.fromkeys(names)), scenes))
        return [index for index, name in enumerate(names) if name in chosen]

    @property
    def metainfo(self) -> dict[str, Any]:
        """Classes and the like, of the data set inside."""
        return dict(self.dataset.metainfo)

    def full_init(self) -> None:
        """Called by mmengine; the data set inside is read already."""

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: Any) -> Any:
        """The sample of a draw or an index; a labelled one without boxes gives way to another."""
        index, seed = (draw.index, draw.seed) if hasattr(draw, "seed") else (int(draw), int(draw))
        with seeded(seed):
            for row in self._tried(index, seed):
                with named(self.dataset, partial(self._info, self.indices[row])):
                    sample = self._labelled(row) if self.labelled[row] else self._unlabelled(row)
                if sample is not None:
                    return sample
        raise ValueError(f"no sample of this data set has a box: {self._without_boxes()}")

    def _tried(self, index: int, seed: int) -> Iterator[int]:
        """The row that is drawn, then all others, in an order of the draw's own.

        In the data set's order, the frame behind a stretch of a drive without objects would be
        drawn once for each of them.
        """
        yield index % len(self)
        others = np.random.default_rng(seed).permutation(len(self))
        yield from (int(row) for row in others if row != index % len(self))

    def _without_boxes(self) -> str:
        """What took the boxes away, counted."""
        known = getattr(self.dataset, "label_mapping", {})
        boxes = taught = full = 0
        for index in self.indices:
            for box in self.dataset.get_data_info(index).get("instances", ()):
                label = box.get("bbox_label_3d", -1)
                of_class = known.get(label, label) >= 0
                boxes += 1
                taught += of_class
                full += of_class and box.get("num_lidar_pts", 1) > 0
        return (
            f"{len(self.indices)} samples of {getattr(self.dataset, 'ann_file', 'it')} have "
            f"{boxes} boxes, {taught} of them of the config's classes, {full} of these with LiDAR "
            "points; what is left lies outside the config's range, or its points do (point_range). "
            "No box: the data have no labels. No class: set the config's classes. No points: check "
            "the boxes' frame and calibration, and run lidistill create_data again"
        )

    def _info(self, index: int) -> Mapping[str, Any]:
        """A frame of the data set inside, as its info file has it."""
        info: Mapping[str, Any] = self.dataset.get_data_info(index)
        return info

    def _labelled(self, row: int) -> Any:
        return self.dataset.prepare_data(self.indices[row])

    def _unlabelled(self, row: int) -> Any:
        """A sample whose labels are left out; whether it had some does not count either."""
        keep = self.dataset.filter_empty_gt
        self.dataset.filter_empty_gt = False
        try:
            sample = self.dataset.prepare_data(self.indices[row])
        finally:
            self.dataset.filter_empty_gt = keep
        if sample is not None:
            strip_labels(sample["data_samples"])
        return sample


NO_LABELS = "no_instances_3d"
"""Field of an unlabelled sample: empty, in the form of the labels it would have."""


def strip_labels(sample: Any) -> None:
    """Take the labels out of a packed sample of mmdet3d (a Det3DDataSample), in place.

    It then has no ``gt_instances_3d`` at all: a plain detector fails on it, where it would learn
    from an empty one that there are no objects. What is left is an empty :data:`NO_LABELS`.
    """
    sample.set_field(sample.gt_instances_3d[:0], NO_LABELS)
    for name in ("gt_instances_3d", "gt_instances", "gt_pts_seg"):
        if name in sample:
            delattr(sample, name)


@TRANSFORMS.register_module()
class DropEmptyBoxes:
    """Remove boxes that hold fewer than ``min_points`` points of the cloud as it is here.

    nuScenes' evaluation ignores true boxes without a point; a detector trained on them learns to
    guess. Between 39 and 56 % of the small classes' boxes in single sweeps are of that kind.

    Args:
        min_points: a box with fewer is removed.
    """

    def __init__(self, min_points: int = 1) -> None:
        self.min_points = min_points

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Filter ``gt_bboxes_3d`` and ``gt_labels_3d`` of mmdet3d's sample."""
        boxes = results["gt_bboxes_3d"]
        if len(boxes) == 0:
            return results
        centred = torch.cat([boxes.gravity_center, boxes.dims, boxes.tensor[:, 6:7]], dim=1)
        inside = points_in_boxes(results["points"].tensor.numpy(), centred.numpy())  # (N, M)
        keep = inside.sum(axis=0) >= self.min_points
        results["gt_bboxes_3d"] = boxes[keep]
        results["gt_labels_3d"] = results["gt_labels_3d"][keep]
        return results


@TRANSFORMS.register_module()
class KeepPointsInImage:
    """Keep the points that a camera can see: KITTI labels nothing beside its image.

    What mmdet3d does offline (``velodyne_reduced``); so full scans can be used directly.

    Args:
        camera: name in the info file.
        max_depth: metres, as in mmdet3d.
    """

    def __init__(self, camera: str = "CAM2", max_depth: float = 100.0) -> None:
        self.camera, self.max_depth = camera, max_depth

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Filter ``points`` of mmdet3d's sample."""
        image = results["images"][self.camera]
        if "width" not in image:  # a data set of LiDAR alone: its labels are all around
            return results
        pixel_from_lidar = np.asarray(image["lidar2img"], dtype=np.float64)
        u, v, depth = apply_transform(
            pixel_from_lidar, results["points"].tensor[:, :3].double().numpy()
        ).T
        keep = (depth > 0) & (depth < self.max_depth)
        keep &= (u > 0) & (u < image["width"] * depth) & (v > 0) & (v < image["height"] * depth)
        results["points"] = results["points"][keep]
        return results


@DATASETS.register_module()
def kitti_frames(ann_file: str, data_root: str, metainfo: Mapping[str, Any], **options: Any) -> Any:
    """mmdet3d's ``KittiDataset``, its classes those of the info file in place of KITTI's eight.

    Args:
        ann_file: info file, made with ``lidistill create_data kitti --classes ...``.
        data_root: its folder.
        metainfo: ``classes``: names in the detector's order, each of them in the info file.
        options: of ``KittiDataset``.

    Raises:
        DataError: a class that the info file was not told to teach.
    """
    from mmdet3d.datasets import KittiDataset

    path = Path(data_root, ann_file)
    info = load_infos(path, "kitti").metainfo
    labels = {name: label for name, label in info["categories"].items() if label >= 0}
    taught = info.get("taught", list(labels))
    unknown = [name for name in metainfo["classes"] if name not in taught]
    if unknown:
        raise DataError(
            f"Expected classes that the info file teaches ({', '.join(taught)}), got "
            f"{', '.join(unknown)}.",
            path=path,
            fix=f"{command_for('kitti')} --classes {' '.join(metainfo['classes'])}",
        )
    names = tuple(sorted(labels, key=labels.__getitem__))
    # An attribute of the object, not a class of its own: worker processes can pickle it.
    frames = KittiDataset.__new__(KittiDataset)
    frames.METAINFO = {**KittiDataset.METAINFO, "classes": names}
    KittiDataset.__init__(
        frames, data_root=data_root, ann_file=ann_file, metainfo=dict(metainfo), **options
    )
    return frames
