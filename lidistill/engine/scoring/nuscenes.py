# SPDX-License-Identifier: Apache-2.0
"""``lidistill eval nuscenes``: mAP and NDS of a results file, by the unmodified devkit."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from lidistill.converters.nuscenes.results import SCORED, Boxes, read_boxes
from lidistill.engine.scoring.output import number, show
from lidistill.evaluation.nuscenes.breakdown import BY
from lidistill.evaluation.nuscenes.metric import DetectionScores, evaluate_nuscenes
from lidistill.io import read_json

FEW = 41


def score_nuscenes(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    results = read_nuscenes_results(args.pred)
    notes = []
    if args.missing == "empty":
        lacking = _tokens(args.root, args.version, args.split) - set(results)
        results = {**results, **{token: [] for token in sorted(lacking)}}
        if lacking:
            notes.append(f"{len(lacking)} keyframes without an entry: nothing was detected there")
    scores = evaluate_nuscenes(args.root, args.version, args.split, results)
    notes += _warnings(scores)
    parts: list[Table | str] = [scores.protocol, *_tables(scores), *notes]
    record = {
        "benchmark": "nuscenes",
        "pred": str(Path(args.pred).resolve()),
        "notes": notes,
        **asdict(scores),
    }
    show(parts, args.out, record)
    return 0


def read_nuscenes_results(path: Path) -> Boxes:
    """Reads a results file: ``{"meta": ..., "results": {sample_token: [entry, ...]}}``.

    Raises:
        DataError: It is no such file; names the keyframe, the entry and the key.
    """
    return {
        token: [{**entry, "sample_token": token} for entry in entries]
        for token, entries in read_boxes(path, SCORED).items()
    }


def _tokens(root: Path, version: str, split: str) -> set[str]:
    """Keyframes of a split."""
    from nuscenes import NuScenes
    from nuscenes.utils.splits import create_splits_scenes

    tables = NuScenes(version, str(root), verbose=False)
    own = root / version / "splits.json"
    scenes = read_json(own) if own.is_file() else create_splits_scenes()
    if split not in scenes:
        raise ValueError(f"no split {split!r} in {version}; there are {', '.join(scenes)}")
    kept = {scene["token"] for scene in tables.scene if scene["name"] in set(scenes[split])}
    return {sample["token"] for sample in tables.sample if sample["scene_token"] in kept}


def _warnings(scores: DetectionScores) -> list[str]:
    few = [f"{name} {count}" for name, count in scores.objects.items() if 0 < count < FEW]
    if not few:
        return []
    return [
        f"warning: fewer than {FEW} true boxes of {', '.join(few)}: one box moves the number by "
        "percents"
    ]


def _tables(scores: DetectionScores) -> list[Table]:
    whole = Table(title=f"{scores.frames} keyframes, {scores.boxes} true boxes that count")
    whole.add_column("score")
    whole.add_column("value", justify="right")
    for name, value in {"mAP": scores.map, "NDS": scores.nds, **scores.errors}.items():
        whole.add_row(name, number(value, 4))
    table = Table(title="AP, mean over centre distances of 0.5, 1, 2 and 4 m")
    table.add_column("class")
    table.add_column("objects", justify="right")
    table.add_column("AP", justify="right")
    for name, value in scores.ap.items():
        table.add_row(name, str(scores.objects.get(name, 0)), number(value, 4))
    return [whole, table, *(_breakdown(scores, by) for by in BY)]


def _breakdown(scores: DetectionScores, by: str) -> Table:
    """AP of each class and group, with the number of objects."""
    groups = [group for group in scores.groups if group.by == by]
    title = {"range": "distance from the vehicle", "points": "points in the true box"}[by]
    table = Table("class", title=f"AP (objects) by {title}")
    for name in dict.fromkeys(group.name for group in groups):
        table.add_column(name, justify="right")
    for kind in scores.ap:
        own = [group for group in groups if group.kind == kind]
        table.add_row(kind, *(f"{number(one.ap, 4)} ({one.objects})" for one in own))
    return table
