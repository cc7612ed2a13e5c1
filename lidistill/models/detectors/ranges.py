# SPDX-License-Identifier: Apache-2.0
"""Whether data pipeline and detector agree on where the world ends.

A range stands in both: points and boxes are cut to the one, voxels and anchors are made in the
other. Where they differ, boxes are taught outside of the map, or half of it never sees a point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lidistill.models.detectors.grid_fit import type_name
from lidistill.models.detectors.mmdet3d import adapt_model, read_model_config

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
FILTERS = ("PointsRangeFilter", "ObjectRangeFilter")
BUILDERS = ("mmdet3d_detector", "compressed_detector", "BEVDetector")
TOLERANCE = 1e-4  # metres


def check_ranges(cfg: Mapping[str, Any]) -> None:
    """Compare the ranges of the data pipelines with the one that the student voxelizes.

    Teachers may cover another range: their maps are matched in metres.

    Args:
        cfg: config of a training or a test: ``model`` and its data loaders.

    Raises:
        ValueError: a pipeline's range, or its voxels' size, is not the student's; names the
            options that set it.
    """
    model = cfg.get("model") or {}
    grid = student_grid(model.get("student", model))
    ranges = [found for loader in LOADERS for found in _filters(cfg.get(loader), loader)]
    voxels = [found for loader in LOADERS for found in _voxels(cfg.get(loader), loader)]
    if grid is None:  # PointRCNN has no range of its own: its pipelines must agree
        if ranges:
            _compare(ranges, ranges[0][1], f"that of {ranges[0][0]}")
        return
    _compare(ranges, grid[0], "the model's point range")
    _compare([(f"{key}.point_range", box) for key, box, _ in voxels], grid[0], "the detector's")
    _compare([(f"{key}.size", size) for key, _, size in voxels], grid[1], "the detector's")


def student_grid(model: Any) -> tuple[list[float], list[float]] | None:
    """Range (6) and voxel size (3) in metres of a detector, or of one a part of which is trained.

    Args:
        model: config of it, as in a config of ours; None is returned for a model without voxels.
    """
    given = next(_detectors(model), None)
    if given is None:
        return None
    names = ("point_range", "voxel_size", "changes")
    arguments = {name: given[name] for name in names if name in given}
    adapted = adapt_model(read_model_config(given["config"]), **arguments)
    layer = (adapted.get("data_preprocessor") or {}).get("voxel_layer") or {}
    if "point_cloud_range" not in layer or "voxel_size" not in layer:
        return None
    return list(layer["point_cloud_range"]), list(layer["voxel_size"])


def _detectors(node: Any) -> Iterator[Mapping[str, Any]]:
    """Arguments of mmdet3d_detector and its kin, wherever a model's config has them."""
    if isinstance(node, Mapping):
        kind = type_name(node)
        if kind in BUILDERS:
            yield node
        elif kind == "detector_part":
            yield node["detector"]
        else:
            for value in node.values():
                yield from _detectors(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _detectors(value)


def _steps(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dictionary with a type below a data loader, with its dotted path."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in items:
        if isinstance(value, Mapping) and "type" in value:
            yield f"{path}.{key}", value
        if isinstance(value, Mapping | list | tuple):
            yield from _steps(value, f"{path}.{key}")


def _filters(loader: Any, path: str) -> list[tuple[str, Sequence[float]]]:
    return [
        (f"{key}.point_cloud_range", step["point_cloud_range"])
        for key, step in _steps(loader or {}, path)
        if type_name(step) in FILTERS and "point_cloud_range" in step
    ]


def _voxels(loader: Any, path: str) -> list[tuple[str, Sequence[float], Sequence[float]]]:
    return [
        (key, step["point_range"], step["size"])
        for key, step in _steps(loader or {}, path)
        if type_name(step) == "CartesianVoxels" and "point_range" in step and "size" in step
    ]


def _compare(
    found: Sequence[tuple[str, Sequence[float]]], wanted: Sequence[float], whose: str
) -> None:
    others = [
        (key, values)
        for key, values in found
        if len(values) != len(wanted)
        or any(abs(a - b) > TOLERANCE for a, b in zip(values, wanted, strict=True))
    ]
    if not others:
        return
    text = "(" + ",".join(f"{value:g}" for value in wanted) + ")"
    options = " ".join(f'"{key}={text}"' for key, _ in others)
    raise ValueError(
        f"{others[0][0]} is {tuple(others[0][1])}, {whose} is {tuple(wanted)}: the data pipeline "
        f"and the model must agree; set one of the two, e.g. --cfg-options {options}"
    )
