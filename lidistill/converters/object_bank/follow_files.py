# SPDX-License-Identifier: Apache-2.0
"""Tracks of detection results, file to file, in nuScenes' formats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.converters.infos import NUSCENES_CLASSES, load_infos
from lidistill.converters.nuscenes.results import FOUND, Boxes, read_boxes
from lidistill.converters.object_bank.follow import Detections, Followed, FollowOptions, follow
from lidistill.geometry.frames import make_transform
from lidistill.io import DataError, fields, write_json
from lidistill.io.records import NAME, NUMBER
from lidistill.progress import track


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
        DataError: the results have another form, lack samples or have others; the info file has no
            scenes and times; or an option names a class that nothing was detected of.
    """
    options = options or FollowOptions()
    boxes = read_boxes(results, FOUND)
    scenes = _scenes(info_file)
    others = boxes.keys() - {info["token"] for group in scenes.values() for info in group}
    scenes = {name: infos for name, infos in scenes.items() if name not in leave_out}
    wanted = {info["token"] for group in scenes.values() for info in group}
    lacking = wanted - boxes.keys()
    if lacking or others:
        raise DataError(
            f"Expected results of the {len(wanted)} samples of {info_file.name}: {len(lacking)} "
            f"have none, and {len(others)} results are of other samples.",
            path=results,
            token=min(lacking or others),
            fix="run the detector on all samples of this info file, or name with --infos the one "
            "that it ran on.",
        )
    _check_gates(options, boxes, results)
    written: dict[str, list[dict[str, Any]]] = {}
    report: dict[str, Any] = {"boxes": 0, "tracks": 0, "filled": 0, "classes": {}}
    for name, infos in track(scenes.items(), "Scenes", total=len(scenes)):
        frames = [_detections(info, boxes[info["token"]]) for info in infos]
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


def _scenes(info_file: Path) -> dict[str, list[dict[str, Any]]]:
    """Frames of each scene in the order of time."""
    fix = "make the info file with lidistill create_data nuscenes: tracks need scenes and times."
    need = ("token", "scene_name", "timestamp")
    scenes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    owners: dict[str, Any] = {}
    for info in load_infos(info_file, need=need).frames:
        token = str(info["token"])
        fields(
            info, {"token": NAME, "scene_name": NAME, "timestamp": NUMBER}, info_file, token, fix
        )
        name, owner = info["scene_name"], info.get("scene_token")
        if owners.setdefault(name, owner) != owner:
            raise DataError(
                f"Two scenes are called {name}: of tokens {owners[name]} and {owner}.",
                path=info_file,
                token=token,
                fix="give each scene of scene.json a name of its own, then " + fix,
            )
        scenes[name].append(info)
    for name, infos in scenes.items():
        infos.sort(key=lambda info: float(info["timestamp"]))
        for before, after in pairwise(infos):
            if not before["timestamp"] < after["timestamp"]:
                raise DataError(
                    f"Expected the samples of scene {name} one after the other in time, but "
                    f"{before['token']} has the same timestamp.",
                    path=info_file,
                    token=after["token"],
                    fix="correct the timestamps of sample.json, then " + fix,
                )
    return dict(scenes)


def _check_gates(options: FollowOptions, boxes: Boxes, path: Path) -> None:
    if not isinstance(options.score, Mapping):
        return
    names = {box["detection_name"] for entries in boxes.values() for box in entries}
    unknown = sorted(set(options.score) - names - {"", *NUSCENES_CLASSES})
    if unknown:
        raise DataError(
            f"--score names {', '.join(unknown)}: no class of nuScenes, and nothing was found of "
            f"it; detected: {', '.join(sorted(names)) or 'nothing'}.",
            path=path,
            fix="correct the class in --score, or leave it out.",
        )


def _detections(info: dict[str, Any], boxes: list[dict[str, Any]]) -> Detections:
    poses = [make_transform(box["rotation"], box["translation"]) for box in boxes]
    sizes = [[box["size"][1], box["size"][0], box["size"][2]] for box in boxes]
    return Detections(
        float(info["timestamp"]),
        np.array(poses, dtype=np.float64).reshape(-1, 4, 4),
        np.array(sizes, dtype=np.float64).reshape(-1, 3),
        np.array([float(box["detection_score"]) for box in boxes], dtype=np.float64),
        [box["detection_name"] for box in boxes],
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
