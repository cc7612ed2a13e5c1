# SPDX-License-Identifier: Apache-2.0
"""What mmdet3d's transforms did to a sample, done once more to other things of the same scene."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lidistill.distill.detectors.places import Range

RECORDED = ("RandomFlip3D", "GlobalRotScaleTrans")
HARMLESS = (
    "LoadPointsFromFile", "LoadPointsFromMultiSweeps", "LoadCheckedPoints", "LoadCheckedSweeps",
    "LoadAnnotations3D", "KeepPointsInImage", "DropEmptyBoxes", "PointsRangeFilter",
    "ObjectRangeFilter", "ObjectNameFilter", "PointShuffle", "PointSample", "Pack3DDetInputs",
)  # fmt: skip
OF_LABELS = (
    "LoadAnnotations3D", "DropEmptyBoxes", "ObjectRangeFilter", "ObjectNameFilter",
    "Pack3DDetInputs",
)  # fmt: skip
LIVE = "or leave the teacher's cache out of the config, so that the teacher runs on every batch"


@dataclass(frozen=True)
class Augmentation:
    """What mmdet3d did to one sample, in its order.

    Attributes:
        steps: names of ``transformation_3d_flow`` with their values: ``HF`` and ``VF`` (None)
            mirror y and x, ``R`` (3, 3) turns rows of points from the right, ``S`` scales, ``T``
            (3,) moves.
    """

    steps: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, sample: Any) -> Augmentation:
        """Read a data sample of mmdet3d, or its metainfo.

        Raises:
            ValueError: a step that is not known, not recorded, or recorded for its last time only.
        """
        meta = sample if isinstance(sample, Mapping) else sample.metainfo
        flow = list(meta.get("transformation_3d_flow", ()))
        keys = {"HF": None, "VF": None, "R": "pcd_rotation", "S": "pcd_scale_factor",
                "T": "pcd_trans"}  # fmt: skip
        unknown = [name for name in flow if name not in keys]
        twice = [name for name in ("R", "T") if flow.count(name) > 1]
        lacking = [str(keys[n]) for n in flow if keys.get(n) and meta.get(str(keys[n])) is None]
        if unknown or twice or lacking:
            raise ValueError(
                f"cannot replay the augmentation {flow}: steps not known {unknown}, recorded once "
                f"and done several times {twice}, without record {lacking}; keep one RandomFlip3D "
                f"and one GlobalRotScaleTrans and the meta_keys of Pack3DDetInputs, {LIVE}"
            )
        return cls(tuple((name, None if keys[name] is None else meta[keys[name]]) for name in flow))

    def points(self, xyz: Tensor) -> Tensor:
        """(N, 3) metres, where the augmentation puts them."""
        moved = xyz.clone()
        for name, value in self.steps:
            if name in ("HF", "VF"):
                moved[:, "VF HF".index(name) // 3] *= -1
            elif name == "R":
                moved = _turned(moved, torch.as_tensor(value).to(moved))
            elif name == "S":
                moved = moved * value
            else:
                moved = moved + torch.as_tensor(value).to(moved)
        return moved

    def boxes(self, boxes: Tensor) -> Tensor:
        """(M, 7) or (M, 9) x, y, z, l, w, h, yaw, and vx, vy: any origin along z.

        Source: ``LiDARInstance3DBoxes`` of mmdet3d: flip, rotate, scale, translate.
        """
        out = boxes.clone()
        out[:, :3] = self.points(boxes[:, :3])
        for name, value in self.steps:
            if name == "HF":
                out[:, 6] = -out[:, 6]
                out[:, 8:9] *= -1
            elif name == "VF":
                out[:, 6] = math.pi - out[:, 6]
                out[:, 7:8] *= -1
            elif name == "R":
                turn = torch.as_tensor(value).to(out)
                out[:, 6] += torch.atan2(turn[0, 1], turn[0, 0])
                if out.shape[1] == 9:
                    out[:, 7:9] = _turned(out[:, 7:9], turn[:2, :2])
            elif name == "S":
                out[:, 3:6] *= value
                out[:, 7:] *= value
        return out

    def voxels(self, cells: Tensor, shape: Sequence[int], covered: Range) -> tuple[Tensor, Tensor]:
        """Where voxels go, if the augmentation maps their grid onto itself.

        Args:
            cells: (V, 3) z, y, x.
            shape: cells along z, y, x.
            covered: (x0, y0, z0, x1, y1, z1) metres of the grid.

        Returns:
            (V, 3) int64 cells, and (V,) which of them lie in the grid.

        Raises:
            ValueError: a cell would not become a cell.
        """
        low, high = torch.tensor(covered, dtype=torch.float64).view(2, 3)
        count = torch.tensor(list(shape), dtype=torch.float64).flip(0)  # x, y, z
        size = (high - low) / count
        corner = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()  # a cell and its neighbours
        moved = self.points((corner + 0.5) * size + low)
        index = (moved - low) / size - 0.5
        turn = index[1:] - index[:1]
        # what float32 matrices and far cells leave: a thousandth of a cell at the other end
        if max((turn - turn.round()).abs().max() * count.max(), _rest(index[0])) > 1e-2:
            words = ", ".join(
                name if value is None else f"{name} {torch.as_tensor(value).tolist()}"
                for name, value in self.steps
            )
            raise ValueError(
                f"voxels of {size.tolist()} m over {list(covered)} do not fall onto voxels under "
                f"the augmentation ({words}); cache boxes or points, take what turns and scales "
                f"out of the train pipeline, {LIVE}"
            )
        goes = cells.flip(1).double() @ turn.round() + index[0].round()
        inside = ((goes >= 0) & (goes < count)).all(1)
        return goes.long().flip(1), inside


def _turned(rows: Tensor, turn: Tensor) -> Tensor:
    """Rows times a rotation, in their own precision under autocast, too."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ turn


def _rest(value: Tensor) -> Tensor:
    return (value - value.round()).abs().max()


def without_augmentation(pipeline: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The steps of a train pipeline that give a sample as it is in the file.

    Raises:
        ValueError: a step that changes the scene and leaves no record in the sample.
    """
    names = [_name(step) for step in pipeline]
    foreign = [name for name in names if name not in RECORDED + HARMLESS]
    if foreign:
        raise ValueError(
            f"{', '.join(foreign)} may change a sample without a record of it, so that a teacher's "
            f"outputs cannot follow; take it out of the train pipeline, {LIVE}. Followed are "
            f"{', '.join(RECORDED)}; harmless are {', '.join(HARMLESS)}"
        )
    return [
        step for step, name in zip(pipeline, names, strict=True)
        if name not in (*RECORDED, "PointShuffle")
    ]  # fmt: skip


def point_steps(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The steps that decide the points of a sample as it is in the file, in words.

    Raises:
        ValueError: see :func:`without_augmentation`.
    """
    return [
        {key: _name(step) if key == "type" else str(value) for key, value in step.items()}
        for step in without_augmentation(pipeline)
        if _name(step) not in OF_LABELS
    ]


def _name(step: Mapping[str, Any]) -> str:
    return getattr(step["type"], "__name__", str(step["type"])).rpartition(".")[2]
