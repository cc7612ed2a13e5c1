# SPDX-License-Identifier: Apache-2.0
"""Places: what student and teacher say of the same cells, voxels or points, as matched rows.

Any objective of ``losses/`` takes such rows; any choice of places
(:mod:`lidistill.distill.detectors.choices`) takes rows out or weighs them. Maps of unequal size
and voxels of unequal size are matched by where they lie in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.distill.outputs import FeatureMap, Points, Rows, SparseVoxels
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.losses.rows import map_rows
from lidistill.ops.segments.segment import segment_count, segment_mean, segment_sum

Range = Sequence[float]  # (x0, y0, z0, x1, y1, z1) metres


@dataclass(frozen=True)
class Places:
    """Matched rows.

    Attributes:
        student: (R, C_s) features.
        teacher: (R, C_t) features, without gradient.
        sample: (R,) int64 sample of each place.
        batch_size: number of samples.
        form: ``"voxel"``, ``"bev"`` or ``"point"``.
        xy: (R, 2) metres of the places' centres; None where it is not known.
        weights: (R,) weights of the choices made so far; None = 1.
        counts: (R,) teacher's points per voxel; None where it is not known.
        coords: (R, 4) int32 voxel coordinates (batch, z, y, x); None for other forms.
        grid: BEV grid while the places are all its cells, row by row; None otherwise.
    """

    student: Tensor
    teacher: Tensor
    sample: Tensor
    batch_size: int
    form: str
    xy: Tensor | None = None
    weights: Tensor | None = None
    counts: Tensor | None = None
    coords: Tensor | None = None
    grid: BEVGrid | None = None

    def __len__(self) -> int:
        return len(self.sample)

    def choose(self, rows: Tensor, weights: Tensor | None = None) -> Places:
        """Keep some places.

        Args:
            rows: (K,) int64 which.
            weights: (K,) their weights, multiplied with those that they have.
        """
        kept = {
            name: value[rows]
            for name in ("student", "teacher", "sample", "xy", "weights", "counts", "coords")
            if (value := getattr(self, name)) is not None
        }
        if weights is not None:
            kept["weights"] = weights * kept["weights"] if "weights" in kept else weights
        return replace(self, grid=None, **kept)


def point_range(model: nn.Module) -> Range | None:
    """(x0, y0, z0, x1, y1, z1) metres that a detector covers; None if it does not say so."""
    layer = getattr(getattr(model, "data_preprocessor", None), "voxel_layer", None)
    found = getattr(layer, "point_cloud_range", getattr(model, "point_range", None))
    return None if found is None else [float(value) for value in found]


def match_places(
    student: Any, teacher: Any, ranges: tuple[Range | None, Range | None] = (None, None)
) -> Places:
    """Rows of two tapped outputs at the same places.

    Args:
        student: FeatureMap, SparseVoxels, Points, Rows, or a (B, C, N) tensor of points.
        teacher: the same kind.
        ranges: what the student's and the teacher's grid cover; None where it is not known.

    Returns:
        All places that both have. Maps are compared on the teacher's cells, the student's map read
        bilinearly; of unequal voxels the finer are averaged within the coarser.

    Raises:
        ValueError: outputs of different kinds; as many maps or rows are needed on both sides.
    """
    if isinstance(student, FeatureMap) and isinstance(teacher, FeatureMap):
        return _match_maps(student, teacher, ranges)
    if isinstance(student, SparseVoxels) and isinstance(teacher, SparseVoxels):
        return _match_voxels(student, teacher, ranges)
    if isinstance(student, Points) and isinstance(teacher, Points):
        return _match_points(student.features, teacher.features, student.xyz, teacher.xyz)
    if isinstance(student, Rows) and isinstance(teacher, Rows):
        student, teacher = student.features.T[None], teacher.features.T[None]
    if isinstance(student, Tensor) and isinstance(teacher, Tensor) and student.dim() == 3:
        return _match_points(student, teacher)
    raise ValueError(
        "expected two maps, two lists of voxels or two sets of points, got "
        f"{_kind(student)} (student) and {_kind(teacher)} (teacher); tap a module, or an item of "
        "its output such as 'neck[0]', that gives one of these on both sides"
    )


def _match_points(
    student: Tensor, teacher: Tensor, own: Tensor | None = None, theirs: Tensor | None = None
) -> Places:
    """Features (B, C, N) of the same points, and where those lie (B, N, 3), if that is known."""
    if student.shape[::2] != teacher.shape[::2]:
        raise ValueError(
            "expected the same points (B, C, N) on both sides, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if own is not None and theirs is not None and not torch.equal(own, theirs):
        raise ValueError(
            "the points of student and teacher lie at unequal places; tap both where each point of "
            "the scan has a feature (PointRCNN: the last 'neck.FP_modules.3'), or draw alike"
        )
    rows, sample = map_rows(student)
    xy = None if own is None else own[..., :2].flatten(0, 1)
    return Places(rows, map_rows(teacher)[0].detach(), sample, len(student), "point", xy=xy)


def _kind(output: Any) -> str:
    shape = getattr(getattr(output, "features", output), "shape", None)
    return type(output).__name__ + ("" if shape is None else f" {tuple(shape)}")


def grid_of(output: FeatureMap, covered: Range | None) -> BEVGrid | None:
    """Where a map lies: as its tap says, else as many cells as it has over the range covered.

    Raises:
        ValueError: the tap's grid has other cells than the map.
    """
    rows, columns = output.features.shape[2:]
    if output.grid is not None:
        known: BEVGrid = output.grid
        if known.shape != (rows, columns):
            raise ValueError(
                f"expected a map of {known.shape} cells (rows, columns), as its tap's BEVGrid has, "
                f"got one of {(rows, columns)}; give the tap the map's own grid, e.g. "
                "Tap('path', grid=grid.strided(2))"
            )
        return known
    if covered is None:
        return None
    x0, y0, _, x1, y1, _ = covered
    return BEVGrid((x0, x1), (y0, y1), ((x1 - x0) / columns, (y1 - y0) / rows))


def _match_maps(
    student: FeatureMap, teacher: FeatureMap, ranges: tuple[Range | None, Range | None]
) -> Places:
    own, target = student.features, teacher.features.detach()
    grids = grid_of(student, ranges[0]), grid_of(teacher, ranges[1])
    if len(own) != len(target):
        raise ValueError(f"expected maps of one batch, got {len(own)} and {len(target)} samples")
    if grids[0] is not None and grids[1] is not None:
        inside = None
        if grids[0] != grids[1]:
            centres = grids[1].centres().to(own.device)
            where = grids[0].normalised_from_metres(centres).to(own.dtype)
            inside = (where.abs() <= 1).all(2).flatten()
            where = where.expand(len(own), -1, -1, -1)
            own = F.grid_sample(own, where, padding_mode="border", align_corners=False)
        xy = grids[1].centres().to(own.device).flatten(0, 1).repeat(len(own), 1)
        rows, sample = map_rows(own)
        places = Places(rows, map_rows(target)[0], sample, len(own), "bev", xy=xy, grid=grids[1])
        if inside is not None and not bool(inside.all()):
            places = places.choose(inside.repeat(len(own)).nonzero().squeeze(1))
        return places
    if own.shape[2:] != target.shape[2:]:
        size = target.shape[2:]
        own = F.interpolate(own, size=size, mode="bilinear", align_corners=False)
    rows, sample = map_rows(own)
    return Places(rows, map_rows(target)[0], sample, len(own), "bev")


def _match_voxels(
    student: SparseVoxels, teacher: SparseVoxels, ranges: tuple[Range | None, Range | None]
) -> Places:
    same_grid = student.spatial_shape == teacher.spatial_shape and ranges[0] == ranges[1]
    target = teacher.features.detach()
    batch_size = max(student.batch_size, teacher.batch_size)
    if same_grid and torch.equal(student.coords, teacher.coords):
        own, counts, coords = student.features, teacher.counts, student.coords
    else:
        cells_s, cells_t, shape = _common_cells(student, teacher, ranges, same_grid)
        keys = torch.cat([_keys(cells_s, shape), _keys(cells_t, shape)])
        known, ids = keys.unique(return_inverse=True)
        first, second = ids[: len(cells_s)], ids[len(cells_s) :]
        both = (segment_count(first, len(known)) > 0) & (segment_count(second, len(known)) > 0)
        rows = both.nonzero().squeeze(1)
        own = segment_mean(student.features, first, len(known))[0][rows]
        target = segment_mean(target, second, len(known))[0][rows]
        counts = teacher.counts
        if counts is not None:
            counts = segment_sum(counts.float().unsqueeze(1), second, len(known))[rows, 0]
        coords = _coords(known[rows], shape)
        student = replace(student, spatial_shape=shape)
    xy = None
    if ranges[0] is not None and student.spatial_shape:
        x0, y0, _, x1, y1, _ = ranges[0]
        size = coords.new_tensor([(x1 - x0), (y1 - y0)], dtype=torch.float32)
        size /= size.new_tensor([student.spatial_shape[2], student.spatial_shape[1]])
        xy = (coords[:, [3, 2]] + 0.5) * size + size.new_tensor([x0, y0])
    sample = coords[:, 0].long()
    return Places(own, target, sample, batch_size, "voxel", xy=xy, counts=counts, coords=coords)


def _common_cells(
    student: SparseVoxels,
    teacher: SparseVoxels,
    ranges: tuple[Range | None, Range | None],
    same_grid: bool,
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Coordinates of both sides in the cells of the coarser grid, and its shape (z, y, x)."""
    if same_grid:
        coords = torch.cat([student.coords, teacher.coords])
        shape = student.spatial_shape or tuple((coords[:, 1:].amax(0) + 1).tolist())
        return student.coords.long(), teacher.coords.long(), shape
    if not (student.spatial_shape and teacher.spatial_shape):
        raise ValueError(
            "voxels of student and teacher differ and the shape of their grids is not known; tap "
            "the voxel encoder of a detector with its own data preprocessor, or sparse tensors"
        )
    if ranges[0] != ranges[1]:
        raise ValueError(
            f"expected voxels over one range, got {ranges[0]} (student) and {ranges[1]} (teacher); "
            "give both detectors the same point_range (the voxel size may differ), or tap BEV maps"
        )
    shapes = [torch.tensor(side.spatial_shape) for side in (student, teacher)]
    coarse = torch.minimum(*shapes)

    def cells(side: SparseVoxels, shape: Tensor) -> Tensor:
        ratio = (coarse / shape).to(side.coords.device)
        found = ((side.coords[:, 1:] + 0.5) * ratio).floor().long()
        return torch.cat([side.coords[:, :1].long(), found], 1)

    return (
        cells(student, shapes[0]),
        cells(teacher, shapes[1]),
        tuple(int(size) for size in coarse),
    )


def _keys(cells: Tensor, shape: tuple[int, ...]) -> Tensor:
    keys = cells[:, 0].clone()
    for axis, size in enumerate(shape):
        keys = keys * size + cells[:, axis + 1]
    return keys


def _coords(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    columns = []
    for size in reversed(shape):
        columns.append(keys % size)
        keys = keys.div(size, rounding_mode="floor")
    return torch.stack([keys, *reversed(columns)], 1).int()
