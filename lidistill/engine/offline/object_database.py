# SPDX-License-Identifier: Apache-2.0
"""``lidistill object_database``: the points in each labelled box, in files, to be pasted elsewhere.

Written in mmdet3d's form (``*_dbinfos_train.pkl`` beside a folder of objects), so that its
``ObjectSample`` and our :class:`lidistill.datasets.bev.paste.PasteObjects` both read it.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lidistill import compat, io
from lidistill.converters.parts import stamp
from lidistill.datasets.detections import SeededDetections, seeded
from lidistill.engine.configs.read import add_config_arguments, load_config
from lidistill.geometry.boxes import points_in_boxes
from lidistill.progress import track

HELP = "cut the points of every labelled box out of a config's frames, for pasting"
LOADERS = (
    "LoadCheckedPoints",
    "LoadCheckedSweeps",
    "LoadPointsFromFile",
    "LoadPointsFromMultiSweeps",
    "LoadAnnotations3D",
)
CHOICES = ("scenes", "labelled")
"""Which frames of a data set a training has labels of, see SeededDetections."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``lidistill object_database``."""
    add_config_arguments(parser)
    parser.add_argument(
        "--data-root", help="use the dataset here instead of the config's data_root"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.pkl")


def run(args: argparse.Namespace) -> int:
    """Entry of the verb."""
    from rich.console import Console

    cfg = load_config(args.config, args.cfg_options, args.data_root)
    counts = make_database(cfg.train_dataloader["dataset"], args.out, str(args.config))
    words = ", ".join(f"{count} {name}" for name, count in counts.items())
    Console(soft_wrap=True).print(f"{args.out}: {words or 'no boxes with points'}")
    return 0


def make_database(dataset: Mapping[str, Any], out: Path, source: str) -> dict[str, int]:
    """Write the database of the frames that a training has labels of.

    A frame whose objects are all there is not read again, so an interrupted run goes on; one whose
    scans were written since then is.

    Args:
        dataset: config of the data set of a training; of its pipeline only the steps that load
            points and boxes are taken.
        out: file to write; the objects go into a folder of its name beside it.
        source: what it is made from, for the manifest.

    Returns:
        Class -> number of objects.

    Raises:
        ValueError: a file name without ``.pkl``; a pipeline that loads no points or no boxes.
    """
    if out.suffix != ".pkl":
        raise ValueError(f"expected --out FILE.pkl, got {out}")
    frames, classes = _open(dataset)
    folder = out.with_suffix("")
    parameters = _same_as_before(folder, frames, dataset, source)
    objects: dict[str, list[dict[str, Any]]] = {name: [] for name in classes}
    for row in track(range(len(frames)), "Objects of frames"):
        part, scans = folder / f"{row:06d}.pkl", _scans(frames, row)
        made = io.load_pickle(part) if part.is_file() else None
        if not isinstance(made, dict) or made["scans"] != scans:
            made = {"scans": scans, "objects": _cut(frames, row, folder, classes)}
            io.dump_pickle(part, made)
        for record in made["objects"]:
            objects[record["name"]].append(record)
    io.dump_pickle(out, objects)
    counts = {name: len(found) for name, found in objects.items() if found}
    io.write_manifest(out, "object_database", parameters, sum(counts.values()), source)
    return counts


def _scans(frames: Any, row: int) -> list[str]:
    """Stamps of a frame's scan and of its sweeps."""
    info = frames.dataset.get_data_info(frames.indices[row])
    clouds = [info["lidar_points"], *(s["lidar_points"] for s in info.get("lidar_sweeps", ()))]
    return [stamp(Path(cloud["lidar_path"])) for cloud in clouds]


def _same_as_before(
    folder: Path, frames: Any, dataset: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """What decides the objects, noted in their folder; objects of other data are not gone on with.

    Raises:
        DataError: the folder holds objects of another data set or pipeline.
    """
    infos = Path(frames.dataset.ann_file)
    settings = {key: value for key, value in _inner(dataset).items() if key != "pipeline"}
    parameters = {
        "infos": f"{infos} sha256:{hashlib.sha256(infos.read_bytes()).hexdigest()[:16]}",
        "classes": list(frames.metainfo["classes"]),
        "steps": [_words(step) for step in _loading(dataset)],
        "dataset": _words(settings),
        "frames": hashlib.sha256(repr(frames.indices).encode()).hexdigest()[:16],
    }
    if (folder / "manifest.json").is_file():
        before = io.read_manifest(folder)["parameters"]
        if before != parameters:
            differ = [key for key in parameters if before.get(key) != parameters[key]]
            raise io.DataError(
                f"This folder holds objects of other data ({', '.join(differ)} differ).",
                path=folder,
                fix="give another --out, or remove this folder and the file beside it.",
            )
        return parameters
    folder.mkdir(parents=True, exist_ok=True)
    io.write_manifest(folder, "object_database", parameters, 0, source)
    return parameters


def _loading(dataset: Mapping[str, Any]) -> list[Any]:
    steps = [step for step in _inner(dataset)["pipeline"] if _name(step) in LOADERS]
    names = {_name(step) for step in steps}
    if "LoadAnnotations3D" not in names or len(names) < 2:
        raise ValueError(
            f"expected a training pipeline that loads points and boxes, got {sorted(names)}; give "
            "a detection config"
        )
    return steps


def _open(dataset: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    compat.apply()
    inner = copy.deepcopy(_inner(dataset))
    inner["pipeline"] = _loading(dataset)
    chosen = {key: dataset[key] for key in CHOICES if key in dataset}
    frames = SeededDetections(inner, **chosen, keep_unlabelled=False)
    return frames, tuple(frames.metainfo["classes"])


def _inner(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Config of mmdet3d's data set, in ours or alone."""
    return dict(dataset.get("dataset", dataset))


def _words(settings: Mapping[str, Any]) -> dict[str, str]:
    """Values of a config as text; classes by their names."""
    return {
        key: value.__qualname__ if isinstance(value, type) else str(value)
        for key, value in settings.items()
    }


def _difficulties(sample: Mapping[str, Any], count: int) -> list[int]:
    """KITTI's, by which mmdet3d's ObjectSample filters: -1 is none of the three; else 0."""
    given = sample.get("ann_info", {}).get("difficulty")
    return [0] * count if given is None else [int(level) for level in given]


def _cut(frames: Any, row: int, folder: Path, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Write the objects of a frame; their records, with paths relative to the database."""
    with seeded(row):
        sample = frames.dataset.pipeline(frames.dataset.get_data_info(frames.indices[row]))
    boxes, labels = sample["gt_bboxes_3d"], sample["gt_labels_3d"]
    rows = boxes.tensor.numpy()
    centred = np.concatenate([boxes.gravity_center.numpy(), rows[:, 3:7]], axis=1)
    points = sample["points"].tensor.numpy()
    inside = points_in_boxes(points, centred)  # (N, M)
    difficulties = _difficulties(sample, len(rows))
    records = []
    for k, label in enumerate(labels):
        own = points[inside[:, k]].copy()
        if label < 0 or not len(own):
            continue
        own[:, :3] -= rows[k, :3]
        path = folder / f"{row:06d}_{classes[label]}_{k}.bin"
        with io.atomic_write(path, sync=False) as temporary:
            own.astype(np.float32).tofile(temporary)
        records.append(
            {
                "name": classes[label],
                "path": f"{folder.name}/{path.name}",
                "image_idx": row,
                "gt_idx": k,
                "box3d_lidar": rows[k],
                "num_points_in_gt": len(own),
                "difficulty": difficulties[k],
                "group_id": k,
            }
        )
    return records


def _name(step: Mapping[str, Any]) -> str:
    kind = step["type"]
    return str(getattr(kind, "__name__", kind)).rsplit(".", 1)[-1]
