# SPDX-License-Identifier: Apache-2.0
"""Whether a detector's network fits the grid of its voxels, and the numbers that follow from it.

A voxel detector of mmdet3d halves its map again and again: in the sparse encoder, then in the BEV
backbone, whose stages the neck puts side by side. A number of cells that is no multiple of all
halvings gives maps of unequal size, an error deep inside torch, or anchors beside their cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# What mmdet3d takes where a config is silent.
_ENCODER_CHANNELS = ((16,), (32, 32, 32), (64, 64, 64), (64, 64, 64))
_ENCODER_PADDINGS = ((1,), (1, 1, 1), (1, 1, 1), ((0, 1, 1), 1, 1))
_BACKBONE_STRIDES = (2, 2, 2)
_NECK_STRIDES = (1, 2, 4)
AXES = "xyz"


@dataclass(frozen=True)
class Grid:
    """Voxels of a detector.

    Attributes:
        point_range: (x0, y0, z0, x1, y1, z1) metres.
        voxel_size: (x, y, z) metres.
        cells: along (x, y, z).
    """

    point_range: tuple[float, ...]
    voxel_size: tuple[float, ...]
    cells: tuple[int, int, int]

    def with_cells(self, axis: int, count: int) -> Grid:
        """As many cells along an axis; the far end moves, both ends where 0 lies in the middle."""
        ends, length = list(self.point_range), count * self.voxel_size[axis]
        low, high = ends[axis], ends[axis + 3]
        low = -length / 2 if abs(low + high) < 1e-6 else low
        ends[axis], ends[axis + 3] = round(low, 6), round(low + length, 6)
        x, y, z = (count if axis == one else self.cells[one] for one in range(3))
        return replace(self, point_range=tuple(ends), cells=(x, y, z))


def grid_of(point_range: Sequence[float], voxel_size: Sequence[float]) -> Grid:
    """The grid of whole voxels.

    Raises:
        ValueError: the range is no whole number of voxels.
    """
    low, high = point_range[:3], point_range[3:]
    spans = [(b - a) / size for a, b, size in zip(low, high, voxel_size, strict=True)]
    cells = (round(spans[0]), round(spans[1]), round(spans[2]))
    grid = Grid(tuple(map(float, point_range)), tuple(map(float, voxel_size)), cells)
    broken = [
        axis
        for axis, (n, span) in enumerate(zip(cells, spans, strict=True))
        if n < 1 or abs(n - span) > 1e-3
    ]
    if broken:
        counts = ", ".join(f"{spans[axis]:.6g} along {AXES[axis]}" for axis in broken)
        raise ValueError(
            f"expected whole voxels of size {grid.voxel_size} m in {grid.point_range}, got "
            f"{counts}; {_nearest(grid, {a: (math.floor(spans[a] + 1e-3), 1) for a in broken})}"
        )
    return grid


def fit_network(model: dict[str, Any], grid: Grid) -> None:
    """Check a detector's strides against its grid; set what else follows from both, in place.

    The BEV backbone reads the slices of height that the sparse encoder leaves, side by side;
    CenterPoint's ``out_size_factor`` is the stride of the map its head sees.

    Args:
        model: config of a model of mmdet3d; one without a voxel grid is left alone.
        grid: its grid.

    Raises:
        ValueError: a number of cells does not fit; says which would.
    """
    prefix = "pts_" if "pts_backbone" in model else ""
    middle, trunk = model.get(prefix + "middle_encoder"), model.get(prefix + "backbone")
    if not isinstance(middle, dict) or not isinstance(trunk, dict):
        return
    sparse, first = _is_sparse(middle), _encoder_stride(middle)
    later = _stage_strides(trunk)
    _check_strides(grid, first, later)
    if sparse:
        slices = height_left(middle, grid.cells[2])
        if slices < 1:
            least = next(n for n in range(1, 1000) if height_left(middle, n) > 0)
            raise ValueError(
                f"{grid.cells[2]} cells along z are too few: the sparse encoder leaves none; take "
                f"a range of at least {least} cells along z, or voxels at most "
                f"{(grid.point_range[5] - grid.point_range[2]) / least:.4g} m high"
            )
        trunk["in_channels"] = middle.get("output_channels", 128) * slices
    elif "Scatter" in type_name(middle) and grid.cells[2] != 1:
        height = grid.point_range[5] - grid.point_range[2]
        raise ValueError(
            f"expected pillars, one cell along z, got {grid.cells[2]}; set the third of voxel_size "
            f"to the height of the range, {height:g}"
        )
    neck = model.get(prefix + "neck")
    if later and isinstance(neck, dict) and type_name(neck) == "SECONDFPN":
        _set_everywhere(model, "out_size_factor", map_strides(model)[1])


def type_name(part: Mapping[str, Any]) -> str:
    """The class's name of a config that names it or holds it; empty where there is none."""
    kind = part.get("type", "")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def map_strides(model: dict[str, Any]) -> tuple[int, int]:
    """Voxels along a cell of the map before the BEV backbone, and of the one that the head sees.

    Args:
        model: config of a voxel or pillar detector of mmdet3d with SECOND's backbone and neck.
    """
    prefix = "pts_" if "pts_backbone" in model else ""
    first = _encoder_stride(model[prefix + "middle_encoder"])
    down = model[prefix + "backbone"].get("layer_strides", _BACKBONE_STRIDES)[0]
    up = model[prefix + "neck"].get("upsample_strides", _NECK_STRIDES)[0]
    return first, round(first * down / up)


def _is_sparse(middle: dict[str, Any]) -> bool:
    return "Sparse" in type_name(middle)


def _encoder_stride(middle: dict[str, Any]) -> int:
    stages = len(middle.get("encoder_channels", _ENCODER_CHANNELS))
    return int(2 ** (stages - 1)) if _is_sparse(middle) else 1


def height_left(middle: dict[str, Any], cells: int) -> int:
    """Slices of height behind a sparse encoder of mmdet3d; SECOND's has one cell more than voxels.

    Args:
        middle: config of the encoder.
        cells: voxels along z.
    """
    channels = middle.get("encoder_channels", _ENCODER_CHANNELS)
    paddings = middle.get("encoder_paddings", _ENCODER_PADDINGS)
    residual = middle.get("block_type") == "basicblock"
    halving = paddings[: len(channels) - 1] if residual else paddings[1 : len(channels)]
    left = cells + 1
    for stage in halving:  # a residual stage ends with its halving, a plain one begins with it
        padding = stage[-1] if residual else stage[0]
        along_z = padding if isinstance(padding, int) else padding[0]
        left = (left + 2 * along_z - 3) // 2 + 1
    return max(0, (left - 3) // 2 + 1)  # the last convolution is three cells high


def _stage_strides(trunk: dict[str, Any]) -> list[int]:
    """By how much each stage of the BEV backbone has shrunk the map; nothing where not known."""
    if type_name(trunk) != "SECOND":
        return []
    strides = trunk.get("layer_strides", _BACKBONE_STRIDES)
    return [math.prod(strides[: stage + 1]) for stage in range(len(strides))]


def _check_strides(grid: Grid, first: int, later: list[int]) -> None:
    stride = first * math.lcm(*later)
    broken = [axis for axis in (0, 1) if grid.cells[axis] % stride]
    if not broken:
        return
    counts = " and ".join(f"{grid.cells[axis]} cells along {AXES[axis]}" for axis in broken)
    whose = f"{first} of the sparse encoder times {stride // first} of the BEV backbone"
    whose = whose if first > 1 else "of the BEV backbone"
    down = {axis: (grid.cells[axis] // stride * stride, stride) for axis in broken}
    raise ValueError(
        f"the network halves its map to a stride of {stride} ({whose}), which does not divide "
        f"{counts}; {_nearest(grid, down)}, or voxels of another size"
    )


def _nearest(grid: Grid, down: dict[int, tuple[int, int]]) -> str:
    """The ranges below and above, with (number of cells below, step to the one above) by axis."""
    found = []
    for up in (0, 1):
        fitting = grid
        for axis, (count, step) in down.items():
            fitting = fitting.with_cells(axis, count + up * step or step)
        found.append(fitting.point_range)
    both = " or ".join(f"({', '.join(f'{v:g}' for v in ends)})" for ends in dict.fromkeys(found))
    return f"the nearest that fit: point_range={both}"


def _set_everywhere(node: Any, key: str, value: int) -> None:
    """Replace a number wherever a nested config names it."""
    if isinstance(node, list | tuple):
        for item in node:
            _set_everywhere(item, key, value)
    if isinstance(node, dict):
        for name, item in node.items():
            if name == key:
                node[name] = value
            else:
                _set_everywhere(item, key, value)
