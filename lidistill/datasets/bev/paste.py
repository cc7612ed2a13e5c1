# SPDX-License-Identifier: Apache-2.0
"""Objects of other frames pasted into a LiDAR frame (ground-truth sampling)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lidistill import io
from lidistill.geometry.boxes import points_in_boxes
from lidistill.geometry.plausible import boxes_fault
from lidistill.io.records import COUNT, NAME, Schema
from lidistill.ops.boxes.rotated_iou import rotated_overlap
from lidistill.registry import TRANSFORMS

MARGIN = 0.2  # metres around a box in which its points lie
_OBJECT: Schema = {"path": NAME, "num_points_in_gt": COUNT, "box3d_lidar": (list, np.ndarray)}
FIX = "make it with lidistill object_database CONFIG --out FILE."


@TRANSFORMS.register_module()
class PasteObjects:
    """Add objects of rare classes where there is room; for detectors of LiDAR alone.

    What stands in a pasted box is taken away first. The images do not show pasted objects: leave
    this out where cameras are looked at. Stands behind the steps that load points and boxes, before
    AugmentBEV.

    Args:
        database: file of :mod:`lidistill.engine.offline.object_database`, or mmdet3d's
            ``*_dbinfos_train.pkl``: class -> objects with ``path``, ``box3d_lidar`` (bottom
            origin), ``num_points_in_gt``.
        classes: names in the order of the labels.
        counts: class -> objects that a frame is filled up to.
        columns: numbers a point of the database's files has.
        use_dim: columns to keep, as many as the frame's points have.
        min_points: objects with fewer are not pasted.
        data_root: of the objects' paths; None: the database's folder.

    Source: SECOND (Yan et al. 2018), section 3.2; CBGS (1908.09492) for the counts.
    Differs from mmdet3d's ``ObjectSample``: a frame's draws depend on the frame's seed alone, not
    on those before it; it runs under numpy 1.24 and later.
    """

    def __init__(
        self,
        database: str | Path,
        classes: Sequence[str],
        counts: Mapping[str, int],
        columns: int = 5,
        use_dim: Sequence[int] = (0, 1, 2, 3, 4),
        min_points: int = 5,
        data_root: str | Path | None = None,
    ) -> None:
        unknown = sorted(set(counts) - set(classes))
        if unknown:
            raise ValueError(f"counts name {unknown}, which are not among the classes {classes}")
        self.database, self.classes, self.counts = Path(database), tuple(classes), dict(counts)
        self.columns, self.use_dim, self.min_points = columns, list(use_dim), min_points
        self.data_root = self.database.parent if data_root is None else Path(data_root)
        self._objects: dict[str, list[Mapping[str, Any]]] | None = None

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``points``, ``gt_bboxes_3d`` and ``gt_labels_3d`` of mmdet3d's sample."""
        boxes, labels = results["gt_bboxes_3d"], np.asarray(results["gt_labels_3d"])
        width = results["points"].tensor.shape[1]
        if width != len(self.use_dim):
            raise ValueError(
                f"the frame's points have {width} columns, use_dim of PasteObjects names "
                f"{len(self.use_dim)}; give it the columns that the frame keeps"
            )
        rows, classes, paths = self._choose(boxes.tensor.numpy(), labels)
        if not len(rows):
            return results
        pasted = [self._points(path, row) for path, row in zip(paths, rows, strict=True)]
        centred = rows[:, :7].copy()
        centred[:, 2] += centred[:, 5] / 2
        cloud = results["points"].tensor
        free = ~points_in_boxes(cloud.numpy(), centred).any(axis=1)
        joined = torch.cat(
            [cloud[torch.from_numpy(free)], torch.from_numpy(np.concatenate(pasted))]
        )
        results["points"] = results["points"].new_point(joined)
        both = torch.cat([boxes.tensor, torch.from_numpy(rows).to(boxes.tensor.dtype)])
        results["gt_bboxes_3d"] = type(boxes)(both, box_dim=both.shape[1])
        results["gt_labels_3d"] = np.concatenate([labels, classes]).astype(labels.dtype)
        return results

    def _choose(
        self, boxes: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], list[int], list[str]]:
        """Boxes that stand free of one another and of those that are there."""
        standing, rows, found, paths = boxes, [], [], []
        for name, count in self.counts.items():
            label = self.classes.index(name)
            known = self.objects.get(name, [])
            wanted = min(count - int((labels == label).sum()), len(known))
            if wanted <= 0:
                continue
            # the global generator: as mmdet3d draws, seeded by SeededDetections
            for pick in np.random.choice(len(known), wanted, replace=False):  # noqa: NPY002
                record = known[pick]
                box = np.zeros((1, boxes.shape[1]), np.float32)
                given = np.asarray(record["box3d_lidar"], np.float32)[: boxes.shape[1]]
                box[0, : len(given)] = np.nan_to_num(given)  # velocities that are not known
                if _overlaps(box, standing):
                    continue
                standing = np.concatenate([standing, box])
                rows.append(box)
                found.append(label)
                paths.append(str(record["path"]))
        empty = np.zeros((0, boxes.shape[1]), np.float32)
        return np.concatenate([empty, *rows]), found, paths

    def _points(self, path: str, box: NDArray[np.float32]) -> NDArray[np.float32]:
        file = io.inside(self.data_root, path, "file of an object")
        points = io.read_points(file, self.columns, None, FIX)[:, self.use_dim]
        if not _in_box(points[:, :3], box):
            raise io.DataError(
                "This object's points do not lie in its box: they count from the middle of the "
                "box's bottom, as mmdet3d's do (OpenPCDet's count from its centre).",
                path=file,
                fix=FIX,
            )
        points[:, :3] += box[:3]
        return np.ascontiguousarray(points, dtype=np.float32)

    @property
    def objects(self) -> dict[str, list[Mapping[str, Any]]]:
        """Class -> its objects with enough points; read once in each worker process."""
        if self._objects is None:
            content, least = read_database(self.database, tuple(self.counts)), self.min_points
            self._objects = {
                name: [item for item in items if item["num_points_in_gt"] >= least]
                for name, items in content.items()
            }
        return self._objects


def read_database(path: Path, classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The objects of some classes, checked.

    Args:
        path: see :class:`PasteObjects`.
        classes: of which objects are wanted.

    Raises:
        DataError: The file is none, does not know a class, or an object's record cannot be meant.
    """
    content = io.load_pickle(path, FIX)
    if not isinstance(content, Mapping):
        what = f"Expected a mapping of classes, got a {type(content).__name__}."
        raise io.DataError(what, path=path, fix=FIX)
    unknown = [name for name in classes if not isinstance(content.get(name), list)]
    if unknown:
        raise io.DataError(
            f"Expected objects of {', '.join(unknown)}, got classes "
            f"{', '.join(map(str, content)) or 'none'}.",
            path=path,
            fix=f"name classes of the database in counts, or {FIX}",
        )
    for name in classes:
        for number, item in enumerate(content[name]):
            place = f"{name} {number}"
            io.fields(item, _OBJECT, path, place, FIX)
            fault = boxes_fault([item["box3d_lidar"]])
            if fault:
                raise io.DataError(f"box3d_lidar: {fault}.", path=path, token=place, fix=FIX)
    return {name: content[name] for name in classes}


def _in_box(points: NDArray[np.float32], box: NDArray[np.float32]) -> bool:
    """Whether points (P, 3), from the middle of a box's bottom, are all in it."""
    centred = box[None, :7].copy()
    centred[0, :3] = 0, 0, box[5] / 2
    centred[0, 3:6] += 2 * MARGIN
    return bool(points_in_boxes(points, centred).all())


def _overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    if not len(others):
        return False
    footprint = [0, 1, 3, 4, 6]
    area = rotated_overlap(
        torch.from_numpy(box[:, footprint]), torch.from_numpy(others[:, footprint])
    )
    return bool((area > 0).any())
