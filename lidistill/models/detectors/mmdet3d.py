# SPDX-License-Identifier: Apache-2.0
"""Any mmdet3d detector from the config it ships with, by path, without editing or subclassing it.

In a config of ours::

    model = dict(
        type=mmdet3d_detector,
        config="mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
        point_range=(0, -38.4, -3, 76.8, 38.4, 1),
        voxel_size=(0.3, 0.3, 0.1),
        changes=dict(backbone=dict(layer_nums=[3, 3])),
    )
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lidistill import compat
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.models.detectors.grid_fit import Grid, fit_network, grid_of, type_name
from lidistill.registry import MODELS

SHIPPED = "mmdet3d::"
CENTRE_MARGIN = 10.0  # metres by which mmdet3d lets a box centre lie outside of the range

ModelConfig = dict[str, Any]


@MODELS.register_module()
def mmdet3d_detector(
    config: str | Path | Mapping[str, Any],
    point_range: Sequence[float] | None = None,
    voxel_size: Sequence[float] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a detector: the very class of mmdet3d, with its own data preprocessor.

    Args:
        config: see :func:`read_model_config`.
        point_range: (x0, y0, z0, x1, y1, z1) metres, in place of the config's; with ``voxel_size``.
        voxel_size: (x, y, z) metres.
        changes: nested replacements inside the model, applied last.

    Returns:
        The detector, with random weights.
    """
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    compat.apply()
    from mmdet3d.registry import MODELS as MMDET3D_MODELS

    model = adapt_model(read_model_config(config), point_range, voxel_size, changes)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        detector: nn.Module = MMDET3D_MODELS.build(ConfigDict(model))
    return detector


@MODELS.register_module()
def detector_part(detector: Mapping[str, Any], part: str) -> nn.Module:
    """Build one part of a detector alone, to pretrain it: the encoder and nothing behind it.

    Args:
        detector: arguments of :func:`mmdet3d_detector`; its ``type`` is ignored.
        part: key of the model config: ``pts_middle_encoder``, ``backbone``, ...

    Raises:
        ValueError: the model has no such part; lists those that it has.
    """
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    compat.apply()
    from mmdet3d.registry import MODELS as MMDET3D_MODELS

    arguments = {key: value for key, value in detector.items() if key != "type"}
    model = adapt_model(read_model_config(arguments.pop("config")), **arguments)
    if not isinstance(model.get(part), Mapping):
        parts = [
            key for key, value in model.items() if isinstance(value, Mapping) and "type" in value
        ]
        raise ValueError(f"{model['type']} has no part {part!r}; it has {', '.join(parts)}")
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        module: nn.Module = MMDET3D_MODELS.build(ConfigDict(model[part]))
    return module


def adapt_model(
    model: Mapping[str, Any],
    point_range: Sequence[float] | None = None,
    voxel_size: Sequence[float] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """A model config on another grid and with other sizes; the given one is not touched.

    Raises:
        ValueError: a range without a voxel size or the other way round; a grid of broken cells, or
            one that the network does not fit.
    """
    adapted = copy.deepcopy(dict(model))
    if (point_range is None) != (voxel_size is None):
        raise ValueError(
            f"expected point_range and voxel_size together, got {point_range} and {voxel_size}"
        )
    if point_range is None or voxel_size is None:
        return merge(adapted, changes or {})
    grid = grid_of(point_range, voxel_size)
    _set_numbers(adapted, grid)
    merge(adapted, changes or {})
    fit_network(adapted, grid)  # of the strides and heights that the changes name
    return adapted


def read_model_config(config: str | Path | Mapping[str, Any]) -> ModelConfig:
    """The ``model`` of a config.

    Args:
        config: file of a config; ``mmdet3d::second/second_hv_...py`` for one that comes with the
            installed mmdet3d; or the content of either.

    Raises:
        FileNotFoundError: no such file; lists the nearest that mmdet3d ships.
        ValueError: a config without a model.
    """
    content: Any = config
    if isinstance(config, str | Path):
        from mmengine.config import Config
        from mmengine.registry import DefaultScope

        compat.apply()
        path = _config_path(str(config))
        with DefaultScope.overwrite_default_scope("mmdet3d"):
            content = Config.fromfile(path)
    model = content.get("model", content)
    if not isinstance(model, Mapping) or "type" not in model:
        raise ValueError(f"expected a config with a model that has a type, got keys {list(model)}")
    return _plain(model)


def _config_path(config: str) -> Path:
    if not config.startswith(SHIPPED):
        if not Path(config).is_file():
            raise FileNotFoundError(
                f"no config at {config}; one that comes with mmdet3d is written "
                f"{SHIPPED}folder/name.py"
            )
        return Path(config)
    import mmdet3d

    folder = Path(mmdet3d.__file__).parent / ".mim" / "configs"
    path = folder / config.removeprefix(SHIPPED)
    if not path.is_file():
        known = [str(p.relative_to(folder)) for p in folder.glob("[!_]*/*.py")]
        near = difflib.get_close_matches(config.removeprefix(SHIPPED), known, n=4, cutoff=0.2)
        raise FileNotFoundError(
            f"mmdet3d ships no {config.removeprefix(SHIPPED)}; nearest: {', '.join(near)}"
        )
    return path


def _plain(value: Any) -> Any:
    """Plain dictionaries, lists and tuples, all copied; classes stay."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value


def merge(model: ModelConfig, changes: Mapping[str, Any]) -> ModelConfig:
    """Put nested replacements into a model config, in place.

    Args:
        model: changed.
        changes: dictionaries are merged, unless they name another ``type`` than what is there;
            everything else takes the place of what was there.
    """
    for key, value in changes.items():
        old = model.get(key)
        if (
            isinstance(value, Mapping)
            and isinstance(old, dict)
            and type_name(value) in ("", type_name(old))
        ):
            merge(old, value)
        else:
            model[key] = _plain(value)
    return model


def set_grid(
    model: ModelConfig, point_range: Sequence[float], voxel_size: Sequence[float]
) -> tuple[int, int, int]:
    """Put a detector on another grid: every number that depends on range or voxel size, in place.

    mmdet3d repeats them in the voxelization, the pillar encoder, the sparse or scattered map, the
    anchors, the box coder, and the targets; one forgotten place shifts boxes without an error.

    Args:
        model: config of the model; keys that it does not have are not added.
        point_range: (x0, y0, z0, x1, y1, z1) metres.
        voxel_size: (x, y, z) metres.

    Returns:
        Cells along (x, y, z).

    Raises:
        ValueError: the range is no whole number of voxels, or the network's strides do not divide
            them; says which ranges are nearest. A model without any such number.
    """
    grid = grid_of(point_range, voxel_size)
    _set_numbers(model, grid)
    fit_network(model, grid)
    return grid.cells


def _set_numbers(model: ModelConfig, grid: Grid) -> None:
    layer = (model.get("data_preprocessor") or {}).get("voxel_layer") or {}
    before = list(layer.get("point_cloud_range") or grid.point_range)
    ends, size = list(grid.point_range), list(grid.voxel_size)
    found = _place(model, _Grid(before, ends, size, *grid.cells))
    if not found:
        raise ValueError(
            f"a {model.get('type')} names no range and no voxels: leave point_range and voxel_size "
            "out; its range is that of PointsRangeFilter in the data pipeline"
        )


@dataclass(frozen=True)
class _Grid:
    before: list[float]  # the range that the config had
    point_range: list[float]
    voxel_size: list[float]
    x: int
    y: int
    z: int

    def centres(self, old: Sequence[float]) -> list[float]:
        """Where box centres may lie; heights stay, or grow to hold the range."""
        x0, y0, z0, x1, y1, z1 = self.point_range
        m = CENTRE_MARGIN
        return [x0 - m, y0 - m, min(old[2], z0), x1 + m, y1 + m, max(old[5], z1)]

    def anchors(self, old: Sequence[Sequence[float]]) -> list[list[float]]:
        """Ranges of anchor centres, as far inside of the range as they were; heights stay."""
        now, before = self.point_range, self.before
        return [
            [row[k] if k in (2, 5) else now[k] + (row[k] - before[k]) for k in range(6)]
            for row in old
        ]


_PLACES: dict[str, Callable[[_Grid, Any], Any]] = {
    "voxel_size": lambda grid, old: grid.voxel_size[: len(old)],
    "point_cloud_range": lambda grid, _: list(grid.point_range),
    "pc_range": lambda grid, old: grid.point_range[: len(old)],
    "post_center_range": _Grid.centres,
    "post_center_limit_range": _Grid.centres,
    "sparse_shape": lambda grid, _: [grid.z + 1, grid.y, grid.x],  # SECOND adds a slice of height
    "output_shape": lambda grid, _: [grid.y, grid.x],
    "grid_size": lambda grid, old: old if isinstance(old, int) else [grid.x, grid.y, grid.z],
    "ranges": _Grid.anchors,
}


def _place(node: Any, grid: _Grid) -> int:
    """Replace what names a range, a voxel size or a number of cells; returns how many did."""
    found = 0
    if isinstance(node, list | tuple):
        found = sum(_place(item, grid) for item in node)
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _PLACES:
                node[key] = _PLACES[key](grid, value)
                found += 1
            else:
                found += _place(value, grid)
    return found


def bev_grid(point_range: Sequence[float], voxel_size: Sequence[float], stride: int = 1) -> BEVGrid:
    """The grid of a detector's BEV map whose cells are ``stride`` voxels wide."""
    cell = (float(voxel_size[0]) * stride, float(voxel_size[1]) * stride)
    return BEVGrid(
        (float(point_range[0]), float(point_range[3])),
        (float(point_range[1]), float(point_range[4])),
        cell,
    )
