# SPDX-License-Identifier: Apache-2.0
"""Info files: mmdet3d's v1.1 schema, written in one canonical form and read with checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.converters.class_names import (
    KITTI_CLASSES,
    NUSCENES_ATTRIBUTES,
    NUSCENES_CLASS_OF,
    NUSCENES_CLASSES,
)
from lidistill.converters.info_checks import INFO_VERSION, check_frames
from lidistill.io import DataError, dump_pickle, load_pickle, write_manifest

__all__ = [
    "INFO_VERSION",
    "KITTI_CLASSES",
    "NUSCENES_ATTRIBUTES",
    "NUSCENES_CLASSES",
    "NUSCENES_CLASS_OF",
    "InfoFile",
    "command_for",
    "load_infos",
    "write_infos",
]


@dataclass(frozen=True)
class InfoFile:
    """An info file in memory.

    Attributes:
        path: Where it lies.
        metainfo: Dataset name, version, split, categories.
        frames: One dict a frame, in mmdet3d's v1.1 schema.
    """

    path: Path
    metainfo: dict[str, Any]
    frames: list[dict[str, Any]]


def command_for(dataset: str | None) -> str:
    """Returns the command that makes an info file."""
    return f"lidistill create_data {dataset or 'nuscenes|kitti|semantickitti'} --root DATA_ROOT"


def load_infos(
    path: str | Path, dataset: str | None = None, need: Sequence[str] = ("lidar_points",)
) -> InfoFile:
    """Reads an info file and checks that it is one that the rest of lidistill understands.

    Args:
        path: The ``.pkl`` file.
        dataset: ``nuscenes`` or ``kitti``; None takes either.
        need: Keys that each frame must have; ``lidar_points`` with path and columns of its file.

    Returns:
        The checked content.

    Raises:
        DataError: The file is missing, holds code, or is of another schema or dataset; names the
            file, the sample where there is one, and the command to run.
    """
    fix = f"make the info file with: {command_for(dataset)}, or your own script (write_infos); if "
    fix += "it lies elsewhere, name its folder (--data-root of train and test)."
    content = load_pickle(path, fix=fix)
    problem = _schema_problem(content, dataset)
    if problem:
        raise DataError(
            f"Expected an info file of schema {INFO_VERSION} (mmdet3d >= 1.1), {problem}.",
            path=path,
            fix=fix,
        )
    if not content["data_list"]:
        raise DataError(
            "0 frames in this info file: its split is empty.",
            path=path,
            fix=f"name frames in the list of this split, then {fix}",
        )
    check_frames(content, path, fix, need)
    return InfoFile(Path(path), _with_split(content), content["data_list"])


def _with_split(content: Mapping[str, Any]) -> dict[str, Any]:
    """mmdet3d's files of KITTI do not say that they are of ``testing``; there nothing is labelled.

    Names of files alone would lead to the frames of ``training`` that are called alike.
    """
    metainfo: dict[str, Any] = content["metainfo"]
    known = str(metainfo.get("dataset", "")).lower() != "kitti" or "split" in metainfo
    if known or not all(frame.get("instances") == [] for frame in content["data_list"]):
        return metainfo
    return {**metainfo, "split": "test"}


def _schema_problem(content: object, dataset: str | None) -> str | None:
    if isinstance(content, list):
        return "got a bare list: the schema of mmdet3d 0.x and OpenPCDet"
    if not isinstance(content, dict):
        return f"got {type(content).__name__}"
    if "infos" in content:
        return "got keys 'infos' and 'metadata': the schema of mmdet3d 0.x"
    if not isinstance(content.get("metainfo"), dict) or not isinstance(
        content.get("data_list"), list
    ):
        return f"got keys {sorted(map(str, content))[:8]} without metainfo and data_list"
    metainfo = content["metainfo"]
    if metainfo.get("info_version") != INFO_VERSION:
        return f"got info_version {metainfo.get('info_version')!r}"
    if dataset is not None and metainfo.get("dataset") != dataset:
        return f"of dataset {dataset!r}, got one of {metainfo.get('dataset')!r}"
    if any(not isinstance(frame, dict) for frame in content["data_list"]):
        return "got frames that are not dictionaries"
    return None


def write_infos(
    path: Path,
    metainfo: Mapping[str, Any],
    frames: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    source: str,
    contents: Mapping[str, Any] | None = None,
) -> None:
    """Writes an info file and its manifest.

    Args:
        path: Of the info file.
        metainfo: Dataset name, version, split, categories.
        frames: In mmdet3d's v1.1 schema.
        parameters: Of the conversion, for the manifest.
        source: What it was made from, for the manifest.
        contents: What is in the data (``Contents.to_dict``): into ``metainfo`` and the manifest.

    The bytes depend on the values alone: pickle marks objects that occur twice, so the same values
    give other bytes when one run shares a string that another run holds twice. The canonical form
    shares every equal string.
    """
    names: dict[str, str] = {}
    known = {} if contents is None else {"contents": dict(contents)}
    content = {"metainfo": {**metainfo, **known}, "data_list": list(frames)}
    dump_pickle(path, _canonical(content, names))
    write_manifest(path, "lidistill create_data", parameters, len(frames), source, known)


def _canonical(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return names.setdefault(value, value)
    if isinstance(value, Mapping):
        return {names.setdefault(key, key): _canonical(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item, names) for item in value]
    return value
