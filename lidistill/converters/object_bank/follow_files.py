# SPDX-License-Identifier: Apache-2.0
"""Tracks of detection results, file to file, in nuScenes' formats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.converters.infos import load_infos
from lidistill.converters.object_bank.follow import Detections, Followed, FollowOptions, follow
from lidistill.geometry.frames import make_transform
from lidistill.io import DataError, read_json, write_json
from lidistill.progress import track

FORM = "expected nuScenes' detection results: {'meta': ..., 'results': {sample token: [box, ...]}}"


def follow_results(
    results: Path,
    info_file: Path,
    out: Path,
    options: FollowOptions | None = None,
    leave_out: Collection[str] = (),
) -> dict[str, Any]:
    """Link the boxes of the scenes of an info file.

    Args:
        results: boxes in the global frame, as nuScenes' detection benchmark wants them.
        info_file: of ``lidistill create_data nuscenes``: which samples follow one another.
        out: tracks in nuScenes' tracking format.
        options: settings.
        leave_out: scenes without results, for instance labelled ones.

    Returns:
        A report: boxes, tracks, their lengths, what was filled in, by class.

    Raises:
        DataError: the results have another form, or lack samples.
    """
    boxes = _boxes(results)
    scenes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for info in load_infos(info_file).frames:
        name = str(info.get("scene_name", ""))
        if name not in leave_out:
            scenes[name].append(info)
    lacking = [i["token"] for group in scenes.values() for i in group if i["token"] not in boxes]
    if lacking:
        raise DataError(
            f"{len(lacking)} samples of {info_file.name} have no results.",
            path=results,
            token=lacking[0],
            fix="run the detector on all samples of this info file.",
        )
    written: dict[str, list[dict[str, Any]]] = {}
    report: dict[str, Any] = {"boxes": 0, "tracks": 0, "filled": 0, "classes": {}}
    for name, infos in track(scenes.items(), "Scenes", total=len(scenes)):
        infos.sort(key=lambda info: float(info["timestamp"]))
        frames = [_detections(info, boxes[info["token"]], results) for info in infos]
        found = follow(frames, options)
        tokens = [info["token"] for info in infos]
        written |= {token: [] for token in tokens}
        for number, one in enumerate(found):
            _write(one, f"{name}_{number:04d}", tokens, written)
        _report(report, frames, found)
    meta = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False}
    write_json(out, {"meta": {**meta, "use_external": False}, "results": written})
    for entry in report["classes"].values():
        entry["median_length"] = float(np.median(entry.pop("lengths")))
    return report


def _boxes(path: Path) -> dict[str, list[dict[str, Any]]]:
    content = read_json(path)
    found = content.get("results") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise DataError(f"Unknown results; {FORM}.", path=path, fix="export them in that form.")
    return found


def _detections(info: dict[str, Any], boxes: list[dict[str, Any]], path: Path) -> Detections:
    try:
        poses = [make_transform(box["rotation"], box["translation"]) for box in boxes]
        sizes = [[box["size"][1], box["size"][0], box["size"][2]] for box in boxes]
        scores = [float(box["detection_score"]) for box in boxes]
        names = [str(box["detection_name"]) for box in boxes]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"A box of this sample does not read: {error!r}; {FORM}.",
            path=path,
            token=info["token"],
            fix="export the results in that form.",
        ) from error
    return Detections(
        float(info["timestamp"]),
        np.array(poses, dtype=np.float64).reshape(-1, 4, 4),
        np.array(sizes, dtype=np.float64).reshape(-1, 3),
        np.array(scores, dtype=np.float64),
        names,
    )


def _write(
    one: Followed, name: str, tokens: list[str], written: dict[str, list[dict[str, Any]]]
) -> None:
    from scipy.spatial.transform import Rotation

    times, centres = np.array(one.seconds), np.array([pose[:3, 3] for pose in one.poses])
    speed = np.gradient(centres, times, axis=0) if len(times) > 1 else np.zeros_like(centres)
    for k, frame in enumerate(one.frames):
        x, y, z, w = Rotation.from_matrix(one.poses[k][:3, :3]).as_quat().tolist()
        length, width, height = one.sizes[k].tolist()
        written[tokens[frame]].append(
            {
                "sample_token": tokens[frame],
                "translation": centres[k].tolist(),
                "size": [width, length, height],
                "rotation": [w, x, y, z],
                "velocity": speed[k, :2].tolist(),
                "tracking_id": name,
                "tracking_name": one.name,
                "tracking_score": one.scores[k],
            }
        )


def _report(report: dict[str, Any], frames: list[Detections], found: list[Followed]) -> None:
    report["boxes"] += sum(len(frame.scores) for frame in frames)
    report["tracks"] += len(found)
    for one in found:
        filled = len(one.rows) - one.seen
        report["filled"] += filled
        entry = report["classes"].setdefault(one.name, {"tracks": 0, "boxes": 0, "lengths": []})
        entry["tracks"] += 1
        entry["boxes"] += one.seen
        entry["lengths"].append(len(one.frames))
