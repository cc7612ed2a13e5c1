# SPDX-License-Identifier: Apache-2.0
"""``lidistill cache_teacher`` for detectors: what a teacher says of every scan on disk."""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from lidistill import compat
from lidistill.converters.superpixels.cli import shard_of
from lidistill.datasets.detections import SeededDetections
from lidistill.distill.caches.augmentation import without_augmentation
from lidistill.distill.caches.detections import ReplayCache, token_of
from lidistill.distill.caches.files import LOOKED_AT, check_files, glances
from lidistill.engine.configs.caches import frames_of, note_inputs
from lidistill.engine.configs.read import load_config
from lidistill.io import DataError, evenly
from lidistill.progress import track
from lidistill.registry import MODELS


def replayed_teacher(args: argparse.Namespace) -> str | None:
    """The teacher of a config that has a :class:`ReplayCache`; None where none has.

    Raises:
        ValueError: several have and none is named.
    """
    compat.apply()
    cfg = load_config(args.config, args.cfg_options, args.data_root)
    names = [
        name
        for name, entry in _entries(cfg.get("model", {})).items()
        if (entry.get("cache") or {}).get("type") is ReplayCache and args.teacher in (None, name)
    ]
    if len(names) > 1:
        raise ValueError(f"several teachers have a cache: {', '.join(names)}; name one: --teacher")
    return names[0] if names else None


def _entries(model: Any) -> dict[str, Any]:
    """Configs of the teachers by name."""
    return {"teacher": model["teacher"]} if "teacher" in model else dict(model.get("teachers", {}))


def cache_detections(args: argparse.Namespace, name: str) -> int:
    """Fill the gaps of a detector's cache, or with ``--dry-run`` say how many there are."""
    from rich.console import Console

    part, parts = shard_of(args.shard)
    frames, method = _open(args, name)
    teacher = method.teachers[name]
    cache = teacher.cache
    if args.budget_gib is not None:
        cache.budget_gib = args.budget_gib
    share = range(part - 1, len(frames), parts)
    missing = list(share)
    if (cache.folder / "manifest.json").is_file():
        store = cache.open(teacher)
        missing = [row for row in share if not cache.has(store, _token(frames, row), teacher)]
    console = Console()
    console.print(f"{len(share)} scans in this share, {len(share) - len(missing)} in the cache")
    if args.dry_run:
        if missing:
            start = time.perf_counter()
            _run(method, teacher, [frames[missing[0]]])
            hours = len(missing) * (time.perf_counter() - start) / 3600
            console.print(f"to do: about {hours:.2f} h, into {cache.folder}")
        return 0
    done = 0
    loader = DataLoader(
        Subset(frames, missing), batch_size=None, num_workers=args.workers, collate_fn=_same
    )
    for sample in track(loader, "Teacher's scans", total=len(missing)):
        if not cache.keep(teacher, *_run(method, teacher, [sample])):
            break
        done += 1
    store = cache.open(teacher, create=True)
    everything = sum(cache.has(store, _token(frames, row), teacher) for row in range(len(frames)))
    store.describe(everything, str(args.config), _glances(frames))
    short = "" if done == len(missing) else "; stopped, for the budget is used up"
    console.print(f"{done} scans done now, {store.bytes() / 2**30:.3f} GiB in all{short}")
    return 0


def _open(args: argparse.Namespace, name: str) -> tuple[SeededDetections, Any]:
    """Scans as they are on disk, and the method whose teacher looks at them."""
    cfg = load_config(args.config, args.cfg_options, args.data_root)
    note_inputs(cfg)
    model = copy.deepcopy(cfg.model)
    entry = _entries(model)[name]
    if args.checkpoint:
        entry["checkpoint"] = args.checkpoint
    if args.out:
        entry["cache"]["folder"] = args.out
    check_files(entry["cache"]["folder"], frames_of(cfg.train_dataloader["dataset"])["data_root"])
    method = MODELS.build(model)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    method.to(device)
    frames: Any = copy.deepcopy(frames_of(cfg.train_dataloader["dataset"]))
    frames["pipeline"] = without_augmentation(frames["pipeline"])
    frames["filter_empty_gt"] = False  # turned, a sample may have boxes in range
    scans = SeededDetections(frames)
    _refuse_shared_names(scans)
    return scans, method


def _glances(frames: SeededDetections) -> dict[str, list[int]]:
    """Of some of the scans."""
    infos = [frames.dataset.get_data_info(row) for row in evenly(frames.indices, LOOKED_AT)]
    return glances([i["lidar_points"]["lidar_path"] for i in infos], frames.dataset.data_root)


def _refuse_shared_names(frames: SeededDetections) -> None:
    """Scans are known by the ends of their paths.

    Raises:
        DataError: two have one, so that one would be told what the teacher said of the other.
    """
    known: dict[str, str] = {}
    for row in frames.indices:
        info = frames.dataset.get_data_info(row)
        path = info["lidar_points"]["lidar_path"]
        other = known.setdefault(token_of(info), path)
        if other != path:
            raise DataError(
                f"A teacher's cache would take two scans for one: {other} and {path}.",
                path=frames.dataset.ann_file,
                token=token_of(info),
                fix="rename one of the folders above them: the last four names of a path count.",
            )


def _same(sample: Any) -> Any:
    return sample


def _token(frames: SeededDetections, row: int) -> str:
    return token_of(frames.dataset.get_data_info(frames.indices[row]))


def _run(method: Any, teacher: Any, samples: list[Any]) -> tuple[Any, Any]:
    """A raw batch on the teacher's device, and what it says of it."""
    from mmengine.dataset import pseudo_collate

    batch = method.data_preprocessor(pseudo_collate(samples), False)
    return batch, teacher.run(batch)
