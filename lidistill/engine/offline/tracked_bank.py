# SPDX-License-Identifier: Apache-2.0
"""Object-complete frames of scenes that nobody labelled: detect, link, gather.

The tool of a stage (``configs/xray/tracked_bank_world.py``): a detector looks at the scenes without
labels, its boxes are linked into tracks, and the bank holds the points of these; scenes with labels
keep their annotations.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lidistill.converters.infos import InfoFile, load_infos
from lidistill.converters.object_bank.build import build_bank
from lidistill.converters.object_bank.follow import FollowOptions
from lidistill.converters.object_bank.follow_files import follow_results
from lidistill.converters.object_bank.sources.nuscenes import NuScenesSource
from lidistill.datasets.detections import SeededDetections
from lidistill.datasets.labelled import Labelled, labelled_mask
from lidistill.distill.calls import call_model
from lidistill.distill.weights import load_weights
from lidistill.evaluation.detections import boxes_of_sample, frame_of, frames_by_file
from lidistill.evaluation.nuscenes.metric import to_global
from lidistill.io import DataError, read_json, write_json
from lidistill.progress import track
from lidistill.registry import MODELS


def tracked_bank(
    cfg: Any,
    out: Path,
    checkpoint: str | Path,
    labelled: Labelled,
    score: float | Mapping[str, float] = 0.3,
    max_gap: int = 3,
    min_length: int = 3,
) -> tuple[Path, dict[str, Any]]:
    """The bank of a config's training frames (nuScenes' layout).

    Args:
        cfg: of the detector: ``model``; ``test_dataloader``, whose pipeline it sees; and
            ``train_dataloader``, whose info file names the frames.
        out: folder; gets ``detections.json``, ``tracks.json`` and ``bank/``.
        checkpoint: of the detector.
        labelled: see :func:`lidistill.datasets.labelled.labelled_mask`; whole scenes.
        score: boxes below are in no track; one number, or class -> number.
        max_gap: frames without a box that a track outlives.
        min_length: boxes of a track.

    Returns:
        The bank, and a report of its tracks.

    Raises:
        DataError: the labelled frames are no whole scenes.
    """
    frames = cfg.train_dataloader.dataset.dataset
    root = Path(frames.data_root)
    infos = load_infos(root / frames.ann_file, "nuscenes")
    known, unknown = _scenes(infos, labelled)
    found = detect(cfg, checkpoint, infos, unknown)
    write_json(out / "detections.json", {"meta": {"use_lidar": True}, "results": found})
    options = FollowOptions(score=score, max_gap=max_gap, min_length=min_length)
    report = follow_results(
        out / "detections.json", infos.path, out / "tracks.json", options, leave_out=known
    )
    boxes = read_json(out / "tracks.json")["results"]
    version, scenes = infos.metainfo["version"], [*known, *unknown]
    source = NuScenesSource(root, version, scenes=scenes, boxes=boxes, annotated=known)
    build_bank(source, out / "bank")
    return out / "bank", report


def detect(
    cfg: Any, checkpoint: str | Path, infos: InfoFile, scenes: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """A detector's boxes in every frame of some scenes.

    Args:
        cfg: see :func:`tracked_bank`.
        checkpoint: of the detector.
        infos: of the frames.
        scenes: names.

    Returns:
        Sample token -> boxes in the global frame, nuScenes' results format.
    """
    import torch
    from mmengine.runner import Runner

    model = MODELS.build(copy.deepcopy(cfg.model))
    load_weights(model, checkpoint)
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    loader = copy.deepcopy(cfg.test_dataloader)
    # a name alone would be looked for below the test's data root: there may be another of that name
    loader.dataset.ann_file = str(infos.path.absolute())
    loader.dataset.data_root = cfg.train_dataloader.dataset.dataset.data_root
    loader.dataset = SeededDetections(loader.dataset, scenes=list(scenes))
    batches = Runner.build_dataloader(loader, seed=0)
    frames, classes = frames_by_file(infos.frames), loader.dataset.metainfo["classes"]
    found = {}
    for batch in track(batches, "Detections", total=len(batches)):
        with torch.no_grad():
            samples = call_model(model, batch, None, "predict", training=False)
        for sample in samples:
            name, boxes, scores, labels = boxes_of_sample(sample.to_dict())
            info = frame_of(frames, name, infos.path)
            found[info["token"]] = to_global(info, boxes, scores, labels, classes)
    return found


def _scenes(infos: InfoFile, labelled: Labelled) -> tuple[list[str], list[str]]:
    """Names of the scenes with labels and of those without."""
    mask = labelled_mask(infos.frames, labelled)
    names = [str(info.get("scene_name") or "") for info in infos.frames]
    known = dict.fromkeys(name for name, own in zip(names, mask, strict=True) if own)
    unknown = dict.fromkeys(name for name, own in zip(names, mask, strict=True) if not own)
    if set(known) & set(unknown) or "" in {*known, *unknown}:
        raise DataError(
            f"labelled={labelled!r} takes some frames of a scene, or frames without a scene.",
            path=infos.path,
            fix="tracks run through whole scenes: give a share, a number or names of scenes.",
        )
    return list(known), list(unknown)
