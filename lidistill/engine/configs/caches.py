# SPDX-License-Identifier: Apache-2.0
"""What the samples of a config go through before its cached teachers see them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill.datasets.detections import SeededDetections
from lidistill.datasets.loading import PackPairs
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.distill.caches.augmentation import point_steps
from lidistill.distill.caches.detections import ReplayCache
from lidistill.distill.caches.files import LOOKED_AT, check_files, glances
from lidistill.distill.caches.images import TeacherCache
from lidistill.engine.test import teachers_of


def note_inputs(cfg: Any) -> None:
    """Tell the caches of a config, in place: one filled from other samples is refused then.

    One whose files were written anew is refused at once.

    Args:
        cfg: config with ``model`` and, for words to say, ``train_dataloader``.

    Raises:
        DataError: see :func:`lidistill.distill.caches.files.check_files`.
        ValueError: the train pipeline changes scenes without a record, and a detector is replayed.
    """
    dataset = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    for teacher in teachers_of(cfg.model):
        cache = teacher.get("cache")
        if isinstance(cache, dict):
            kind = cache.get("type", TeacherCache)
            if kind in (TeacherCache, ReplayCache):
                words = images_of if kind is TeacherCache else scans_of
                cache["inputs"] = words(dataset)
                root = frames_of(dataset).get("data_root")
                if root is not None and cache.get("folder") is not None:
                    check_files(cache["folder"], root)
                    if cache.get("mode") == "exact":
                        cache["files"] = _files_of(dataset, Path(cache["folder"]))


def _files_of(dataset: Mapping[str, Any], folder: Path) -> dict[str, list[int]] | None:
    """What a cache that the training will fill itself is to remember of its images."""
    if dataset.get("type") is not ImageLidarPairs or (folder / "manifest.json").is_file():
        return None
    infos = Path(dataset["ann_file"])
    if not (infos.is_file() or Path(dataset["data_root"], infos).is_file()):
        return None  # a dry run without data
    settings = {**dataset, "pipeline": [], "superpixels_dir": None}
    del settings["type"]
    frames = ImageLidarPairs(**settings)
    return glances(frames.some_images(LOOKED_AT), frames.root)


def frames_of(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    """Config of the data set of mmdet3d that a training reads."""
    inner: Mapping[str, Any] = dataset
    if dataset.get("type") is SeededDetections:
        inner = dataset["dataset"]
    return inner


def scans_of(dataset: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """The steps that decide a detector's points as they are in the file; None where not known."""
    pipeline = frames_of(dataset).get("pipeline")
    return None if pipeline is None else point_steps(pipeline)


def images_of(dataset: Mapping[str, Any]) -> dict[str, list[float]] | None:
    """How the pixels of images are normalised; None where the pipeline does not say."""
    for step in dataset.get("pipeline") or ():
        if isinstance(step, Mapping) and step.get("type") is PackPairs:
            made = PackPairs(**{key: step[key] for key in ("mean", "std") if key in step})
            return {"mean": list(made.mean), "std": list(made.std)}
    return None
