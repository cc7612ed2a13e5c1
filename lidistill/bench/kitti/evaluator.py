# SPDX-License-Identifier: Apache-2.0
"""KITTI's evaluation at the size of its validation split: three classes, all metrics.

The reference matches as the official program and its ports do: each frame's overlaps in full, and
each frame again for every one of the 41 scores. Its kernels are compiled, too, and it computes
overlaps of one frame only, where the ports compute those of a whole part of frames.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.bench.case import Case
from lidistill.bench.kitti._frames import curves_by_frames
from lidistill.converters.kitti.files import Labels
from lidistill.converters.kitti.results import write_results
from lidistill.evaluation.kitti.ap import CLASSES, kitti_ap
from lidistill.evaluation.kitti.columns import stack
from lidistill.evaluation.kitti.folders import read_folders

SIZES = {"Car": (3.9, 1.5, 1.6), "Pedestrian": (0.8, 1.75, 0.6), "Cyclist": (1.7, 1.7, 0.6)}
"""Length, height, width, metres."""
KINDS = ("Car",) * 7 + ("Pedestrian",) * 2 + ("Cyclist", "Van", "DontCare")
FOCAL, CENTRE, WIDTH, HEIGHT = 720.0, (620.0, 180.0), 1242.0, 375.0


def made_up(frames: int, seed: int = 0) -> tuple[list[Labels], list[Labels]]:
    """Labels and detections of made-up frames, about twelve lines each, as KITTI's are.

    Args:
        frames: how many.
        seed: of the random numbers.

    Returns:
        Labels and detections, one of each a frame.
    """
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(frames):
        objects = _objects(rng, rng.poisson(12))
        truth.append(objects)
        found.append(_detections(rng, objects))
    return truth, found


def _objects(rng: np.random.Generator, count: int) -> Labels:
    names = rng.choice(KINDS, count)
    size = np.array([SIZES.get(name, (5.0, 2.2, 1.9)) for name in names]).reshape(-1, 3)
    depth = rng.uniform(5, 60, count)
    location = np.stack([rng.uniform(-0.6, 0.6, count) * depth, np.full(count, 1.6), depth], axis=1)
    turn = rng.uniform(-np.pi, np.pi, count)
    return Labels(
        names=tuple(map(str, names)),
        truncated=rng.choice([0.0, 0.0, 0.0, 0.2, 0.4, 0.7], count),
        occluded=rng.choice([0, 0, 1, 2, 3], count),
        alpha=turn - np.arctan2(location[:, 0], location[:, 2]),
        bbox=_rectangles(location, size),
        size=size * rng.uniform(0.9, 1.1, (count, 1)),
        location=location,
        rotation_y=turn,
        score=np.zeros(count),
    )


def _detections(rng: np.random.Generator, objects: Labels) -> Labels:
    """Four fifths of the objects, a little off, and as many others as were left out."""
    count = len(objects.names)
    kept = np.flatnonzero(rng.random(count) < 0.8)
    extra = _objects(rng, count - len(kept))
    names = (*(objects.names[k] for k in kept), *extra.names)
    location = np.concatenate([objects.location[kept], extra.location])
    location = location + rng.normal(0, 0.15, location.shape) * (1, 0.3, 1)
    size = np.concatenate([objects.size[kept], extra.size])
    turn = np.concatenate([objects.rotation_y[kept], extra.rotation_y])
    turn = turn + rng.normal(0, 0.1, len(turn))
    seen = [k for k, name in enumerate(names) if name in CLASSES]
    score = np.concatenate([rng.beta(5, 2, len(kept)), rng.beta(2, 5, len(extra.names))])
    return Labels(
        names=tuple(names[k] for k in seen),
        truncated=np.zeros(len(seen)),
        occluded=np.zeros(len(seen), dtype=np.int64),
        alpha=(turn - np.arctan2(location[:, 0], location[:, 2]))[seen],
        bbox=_rectangles(location, size)[seen],
        size=size[seen],
        location=location[seen],
        rotation_y=turn[seen],
        score=score[seen],
    )


def _rectangles(location: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 4) about where a box of that place and size is in the image."""
    scale = FOCAL / location[:, 2]
    centre = CENTRE[0] + location[:, 0] * scale
    low = CENTRE[1] + location[:, 1] * scale
    half = 0.35 * (size[:, 0] + size[:, 2]) * scale
    box = np.stack([centre - half, low - size[:, 1] * scale, centre + half, low], axis=1)
    return box.clip(0, (WIDTH, HEIGHT, WIDTH, HEIGHT))


def cases(size: str) -> list[Case]:
    """The evaluation of made-up frames, from memory and from files.

    Args:
        size: "full" = 3,769 frames, KITTI's validation split; "quick" = 40.
    """
    truth, found = made_up(3769 if size == "full" else 40)
    tables = stack(truth), stack(found)
    words = f"{len(truth)} frames, {len(tables[0].kind)} labels, {len(tables[1].kind)} detections"
    folder = Path(tempfile.mkdtemp(prefix="lidistill_kitti_"))
    for part, frames in (("label_2", truth), ("pred", found)):
        (folder / part).mkdir()
        for number, labels in enumerate(frames):
            path = folder / part / f"{number:06d}.txt"
            write_results(path, labels)
            if part == "label_2":  # labels have no score
                rows = path.read_text(encoding="utf-8").splitlines()
                path.write_text("".join(f"{row.rpartition(' ')[0]}\n" for row in rows))

    def whole() -> Any:
        both = read_folders(folder / "label_2", folder / "pred")
        return _curves(both.truth, both.found)

    weakref.finalize(whole, shutil.rmtree, folder, ignore_errors=True)
    return [
        Case(
            "KITTI evaluator",
            words,
            lambda: curves_by_frames(truth, found),
            lambda: _curves(*tables),
        ),
        Case("KITTI evaluator with its files", words, None, whole),
    ]


def _curves(truth: Any, found: Any) -> NDArray[np.float64]:
    """(3, 4, 3, 41): class, metric (bbox, bev, 3d, aos), difficulty, sample."""
    precision = kitti_ap(truth, found).precision
    return np.stack([[precision[n][m] for m in ("bbox", "bev", "3d", "aos")] for n in CLASSES])
