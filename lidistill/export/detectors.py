# SPDX-License-Identifier: Apache-2.0
"""A trained detector for mmdet3d alone: its weights, and a config in mmdet3d's own words."""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill import __version__, compat
from lidistill.export.files import check_output, check_weights, read_content, write_parts
from lidistill.export.report import MMDET3D_NEEDS, Part, Parts, Report, parts_of, some
from lidistill.export.transfer import leave
from lidistill.io import atomic_write

_TEST_KEYS = ("batch_size", "num_workers", "sampler", "dataset")
# Where the types of such a config may live; the second is what mmdet3d writes before their names.
_SCOPES = {"mmdet3d": "", "mmdet": "mmdet.", "mmengine": "", "mmcv": "", "torch": ""}


def export_detector(path: str | Path, out: str | Path | None, config: str | Path) -> Report:
    """Write the detector of a training checkpoint so that mmdet3d needs nothing of ours.

    Args:
        path: a training checkpoint: of a Distiller, whose student is taken, or of a detector.
        out: ``.pth`` to write; the config goes beside it, as ``.py``. None to write nothing.
        config: the config of the training; where it had ``--cfg-options``, the copy with them that
            lies in its work dir.

    Returns:
        What became of every tensor.

    Raises:
        FileNotFoundError: no such checkpoint or config.
        ValueError: the config's student is no mmdet3d detector, or the tensors do not fit it.
    """
    from mmengine.config import Config

    from lidistill.models.detectors.compress import detector_config

    target = check_output(path, out)
    if target is not None and target.suffix != ".pth":
        raise ValueError(f"mmdet3d reads torch files: name the output .pth instead of {out}")
    if target is not None and target.with_suffix(".py").resolve() == Path(config).resolve():
        raise ValueError(f"{config} is the config that is read; choose another name than {out}")
    if not Path(config).is_file():
        raise FileNotFoundError(f"no config at {config}; give the config of the training")
    compat.apply()
    training = Config.fromfile(config)
    written, remarks = _test_data(training, config)
    model = training.get("model", {})
    written["model"] = _in_words(detector_config(model.get("student", model)), "model")
    report = _weights(path, written["model"], config)
    report.remarks = [
        f'use in mmdet3d.apis: init_model("{_name(target, ".py")}", "{_name(target, ".pth")}")',
        MMDET3D_NEEDS,
        *remarks,
    ]
    if target is not None:
        write_parts(
            target, report.parts, "state_dict", Path(path), "export",
            {"to": "detector", "config": str(config)},
            {"dataset_meta": {"classes": tuple(written["class_names"])}},
        )  # fmt: skip
        _write_config(target.with_suffix(".py"), written, path)
    return report


def _name(target: Path | None, suffix: str) -> str:
    return str((target or Path("detector.pth")).with_suffix(suffix))


def _weights(path: str | Path, model: Mapping[str, Any], config: str | Path) -> Report:
    """The detector's tensors, each of which must be there in its shape."""
    from lidistill.models.detectors.mmdet3d import mmdet3d_detector

    content = read_content(path)
    tables = {
        place: (table, "student." if any(k.startswith("student.") for k in table) else "")
        for place, table in content.tables.items()
    }
    place, (table, prefix) = next(iter(tables.items()))
    parts = parts_of(table, place)
    wanted = mmdet3d_detector(model).state_dict()
    own: Parts = {
        name: parts[prefix + name]
        for name, tensor in wanted.items()
        if prefix + name in table and table[prefix + name].shape == tensor.shape
    }
    if len(own) < len(wanted):
        odd = [
            f"{name} {list(wanted[name].shape)}"
            + (f" for {list(table[prefix + name].shape)}" if prefix + name in table else "")
            for name in wanted
            if name not in own
        ]
        raise ValueError(
            f"{path} does not fit the {model['type']} of {config}: {len(own)} of {len(wanted)} "
            f"tensors matched by name and shape. Missing or unequal: {some(odd)}. It holds "
            f"{content.summary()}. Give the config of its training; one that had --cfg-options "
            "left a copy with them in its work dir"
        )
    check_weights(own, path)
    used = {part.source for part in own.values()}
    rest = {
        str(part.source): part
        for other, (others, _) in tables.items()
        for part in parts_of(others, other).values()
        if part.source not in used
    }
    left: list[Part] = leave(rest, "not the student's" if prefix else "not the detector's")
    return Report(f"{path} -> {model['type']} for mmdet3d", own, left)


def _test_data(config: Mapping[str, Any], path: str | Path) -> tuple[dict[str, Any], list[str]]:
    """What ``init_model`` and ``inference_detector`` read beside the model, and remarks."""
    loader = config.get("test_dataloader")
    if loader is None:
        raise ValueError(
            f"{path} has no test_dataloader, which mmdet3d's init_model reads; add one, as in "
            "configs/_base_/detection_kitti.py"
        )
    kept = {key: loader[key] for key in _TEST_KEYS if key in loader}
    dataset = dict(kept["dataset"])
    if _is_ours(dataset["type"]) and "dataset" in dataset:
        dataset = dict(dataset["dataset"])
    given = dataset.get("pipeline", [])
    steps = [_foreign(step) for step in given]
    ours = [_type_name(step["type"]) for step in steps if _is_ours(step["type"])]
    dataset["pipeline"] = [step for step in steps if not _is_ours(step["type"])]
    dataset.setdefault("box_type_3d", "LiDAR")
    classes = dataset.get("metainfo", {}).get("classes") or config.get("classes")
    if not classes:
        raise ValueError(f"{path} names no classes; give its test data set metainfo=dict(classes=)")
    kept["dataset"] = dataset
    remarks = [
        "it has no evaluator: ours (lidistill test) are not in mmdet3d",
        *(f"left out of the test pipeline, for mmdet3d has no such step: {name}" for name in ours),
    ]
    if any(step.get("nonfinite") == "drop" for step in given):
        remarks.append(
            "points with NaN or infinity, which are left out here (nonfinite='drop'), reach the "
            "network there: take them out of the files"
        )
    if "LoadPointsFromMultiSweeps" in str(dataset["pipeline"]):
        remarks.append(
            "mmdet3d 1.x puts the sweeps of a turning vehicle up to a metre off (its issue 3054): "
            "expect lower scores there than here"
        )
    return {
        "default_scope": "mmdet3d",
        "class_names": list(classes),
        "test_dataloader": _in_words(kept, "test_dataloader"),
    }, remarks


_READER = ("nonfinite", "compat")
_COUNTERPARTS = {
    "LoadCheckedPoints": {"type": "LoadPointsFromFile", "coord_type": "LIDAR"},
    "LoadCheckedSweeps": {"type": "LoadPointsFromMultiSweeps"},
}


def _foreign(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """A step of ours in mmdet3d's words, where it has one that reads the same files."""
    name = _type_name(step["type"]).removeprefix("lidistill.")
    if name not in _COUNTERPARTS:
        return step
    return {**{k: v for k, v in step.items() if k not in _READER}, **_COUNTERPARTS[name]}


def _is_ours(kind: Any) -> bool:
    return str(getattr(kind, "__module__", kind)).startswith("lidistill")


def _type_name(kind: Any) -> str:
    return kind if isinstance(kind, str) else str(kind.__name__)


def _in_words(value: Any, where: str) -> Any:
    """A config without objects: classes become the names under which mmdet3d knows them."""
    if isinstance(value, Mapping):
        return {key: _in_words(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_in_words(item, where) for item in value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    scope = _SCOPES.get(str(getattr(value, "__module__", "")).partition(".")[0])
    if getattr(value, "__name__", "") == "kitti_frames":  # mmdet3d's data set, made by ours
        return "mmdet3d.KittiDataset"
    if scope is None or not hasattr(value, "__name__"):
        raise ValueError(
            f"{where} is {value!r}, which mmdet3d cannot load without lidistill; a detector for "
            "mmdet3d alone is made of mmdet3d's own parts"
        )
    return scope + value.__name__


def _write_config(path: Path, content: Mapping[str, Any], source: str | Path) -> None:
    lines = [f"# Written by lidistill {__version__} from {source}: plain mmdet3d, nothing of ours."]
    lines += [
        f"{key} = {pprint.pformat(value, width=96, sort_dicts=False)}"
        for key, value in content.items()
    ]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
