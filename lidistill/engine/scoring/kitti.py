# SPDX-License-Identifier: Apache-2.0
"""``lidistill eval kitti``: AP, what is behind it, and what was missed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from lidistill.converters.kitti.splits import read_frame_list
from lidistill.engine.scoring.output import number, show
from lidistill.evaluation.kitti.ap import (
    CLASSES,
    DIFFICULTIES,
    FEW,
    LOOSE,
    METRICS,
    RECALLS,
    STRICT,
    KittiScores,
    kitti_ap,
)
from lidistill.evaluation.kitti.breakdown import (
    FAULTS,
    MISSES,
    Group,
    Missed,
    by_distance,
    by_occlusion,
    what_was_missed,
)
from lidistill.evaluation.kitti.folders import Folders, read_folders
from lidistill.visualization.detections.precision_curves import draw_precision


def score_kitti(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    began = time.perf_counter()
    overlaps, classes = _overlaps(args)
    frames = None if args.split is None else read_frame_list(args.split)
    folders = read_folders(args.gt, args.pred, frames, args.missing)
    read = time.perf_counter()
    scores = kitti_ap(folders.truth, folders.found, classes, overlaps, official=args.official)
    both = folders.truth, folders.found
    groups = by_distance(*both, scores, args.by) + by_occlusion(both[0], scores, args.by)
    missed = what_was_missed(*both, scores, args.by)
    done = time.perf_counter()
    parts: list[Table | str] = [scores.protocol, *folders.notes]
    parts += [*(_ap_table(scores, name) for name in RECALLS), *_warnings(scores, folders)]
    if any(scores.objects.values()):
        parts += [_group_table(groups), *(_missed_tables(missed) if missed else ())]
    record = _record(args, scores, folders, groups, missed)
    record["seconds"] = {"reading": round(read - began, 3), "scoring": round(done - read, 3)}
    show(parts, args.out, record)
    if args.out is not None and scores.precision:
        title = f"Precision over recall, {scores.frames} frames"
        for suffix in ("svg", "png"):
            draw_precision(scores.precision, DIFFICULTIES, title, args.out / f"curves.{suffix}")
    return 0


def _overlaps(args: argparse.Namespace) -> tuple[dict[str, float], Sequence[str]]:
    """Overlap of each class, and which are scored."""
    overlaps = dict(LOOSE if args.loose else STRICT)
    for word in args.overlap:
        name, _, value = word.partition("=")
        name = next((known for known in overlaps if known.lower() == name.lower()), name)
        try:
            overlaps[name] = float(value)
        except ValueError:
            overlaps[name] = -1.0
        if not 0 <= overlaps[name] < 1:
            raise ValueError(f"expected --overlap NAME=MIN with MIN in 0..1, got {word!r}")
    own = [name for name in overlaps if name not in CLASSES]
    classes = args.classes or [*CLASSES, *own]
    unknown = [name for name in classes if name not in overlaps]
    if unknown:
        raise ValueError(
            f"no overlap is known for {', '.join(unknown)}; give one with --overlap "
            f"{unknown[0]}=0.5 (known: {', '.join(overlaps)})"
        )
    return overlaps, list(dict.fromkeys(classes))


def _warnings(scores: KittiScores, folders: Folders) -> list[str]:
    """What makes the numbers less than they look."""
    words = []
    for name, counts in scores.objects.items():
        few = [
            f"{level} {count}"
            for level, count in zip(DIFFICULTIES, counts, strict=True)
            if 0 < count < FEW
        ]
        if few:
            words.append(
                f"warning: {name} has fewer than {FEW} objects ({', '.join(few)}): the 41 sampled "
                "recalls cannot all be reached, so even a perfect result is below 100, and one "
                "object moves the number by percents"
            )
    known = {name.lower() for name in scores.objects} | {"dontcare"}
    others = sorted(set(folders.found.kinds) - known)
    if others:
        words.append(f"detections of classes that are not scored: {', '.join(others)}")
    return words


def _ap_table(scores: KittiScores, recalls: str) -> Table:
    table = Table(title=f"AP in percent, {recalls}")
    for column in ("class", "difficulty", "objects", *METRICS):
        left = column in ("class", "difficulty")
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for name, metrics in scores.ap.items():
        for level, difficulty in enumerate(DIFFICULTIES):
            cells = [number(metrics[metric][recalls][level]) for metric in METRICS]
            first = name if level == 0 else ""
            table.add_row(first, difficulty, str(scores.objects[name][level]), *cells)
        table.add_section()
    return table


def _group_table(groups: Sequence[Group]) -> Table:
    metric = groups[0].metric
    table = Table(title=f"AP {metric} R40 of hard objects, by distance and by occlusion")
    for column in ("class", "group", "objects", f"AP {metric}"):
        table.add_column(column, justify="left" if column in ("class", "group") else "right")
    for group in groups:
        table.add_row(group.kind, group.name, str(group.objects), number(group.ap))
    return table


def _missed_tables(missed: Sequence[Missed]) -> list[Table]:
    """Objects that were not found, and detections that are wrong, by reason."""
    one = missed[0]
    words = f"{one.difficulty} objects by {one.metric}, at the score of the best F1"
    objects = Table("class", title=f"What was missed: {words}")
    wrong = Table("class", title=f"What is wrong: {words}")
    for column in ("score", "objects", "found", *MISSES):
        objects.add_column(column, justify="right")
    for column in FAULTS:
        wrong.add_column(column, justify="right")
    for one in missed:
        counts = (one.objects, one.hits, *one.misses.values())
        objects.add_row(one.kind, number(one.score), *map(str, counts))
        wrong.add_row(one.kind, *map(str, one.faults.values()))
    return [objects, wrong]


def _record(
    args: argparse.Namespace,
    scores: KittiScores,
    folders: Folders,
    groups: Sequence[Group],
    missed: Sequence[Missed],
) -> dict[str, Any]:
    return {
        "benchmark": "kitti",
        "protocol": scores.protocol,
        "notes": [*folders.notes, *_warnings(scores, folders)],
        "gt": str(Path(args.gt).resolve()),
        "pred": str(Path(args.pred).resolve()),
        "frames": scores.frames,
        "minimum_overlap": {name: dict(t.minimum) for name, t in scores.tables.items()},
        "difficulties": DIFFICULTIES,
        "recalls": {name: list(range(41)[places]) for name, places in RECALLS.items()},
        "objects": scores.objects,
        "ap": scores.ap,
        "precision": scores.precision,
        "groups": [asdict(group) for group in groups],
        "missed": [asdict(one) for one in missed],
    }
