# SPDX-License-Identifier: Apache-2.0
"""Tracks of nuScenes, or of any data set in its layout: keyframes, sweeps, annotations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lidistill.converters.infos import NUSCENES_CLASS_OF
from lidistill.converters.nuscenes.results import Boxes
from lidistill.converters.nuscenes.tables import NuScenesTables, Record, SceneRecords
from lidistill.converters.object_bank.tracks import UNKNOWN, Frame, SceneTracks, scene_tracks
from lidistill.geometry.frames import compose, make_transform
from lidistill.io import DataError


class NuScenesSource:
    """Scenes of a version; the tables are read once and cut by index.

    Args:
        root: data root.
        version: folder of the tables.
        lidar: channel; None takes LIDAR_TOP, or the only one.
        columns: float32 values a point.
        scenes: names; None takes all.
        boxes: sample token -> boxes of tracks in nuScenes' tracking format, in place of the
            annotations: ``lidistill object_bank tracks`` writes them. Scenes without any entry are
            left out.
        annotated: scenes that keep their annotations where ``boxes`` are given: the labelled ones.

    Raises:
        DataError: a scene is not known, or its keyframes have boxes in part.
    """

    def __init__(
        self,
        root: Path,
        version: str,
        lidar: str | None = None,
        columns: int = 5,
        scenes: list[str] | None = None,
        boxes: Boxes | None = None,
        annotated: Sequence[str] = (),
    ) -> None:
        self.root, self.version, self.columns, self.boxes = root, version, columns, boxes
        self.tables = NuScenesTables(root, version, lidar)
        known = {scene["name"]: scene for scene in self.tables.scenes}
        self.annotated = set(known if boxes is None else annotated)
        unknown = [name for name in [*(scenes or []), *annotated] if name not in known]
        if unknown:
            raise DataError(
                f"Expected scenes of {version}, got {', '.join(unknown)}.",
                path=root / version / "scene.json",
                fix=f"name some of {', '.join(sorted(known)[:8])}, ...",
            )
        self._scenes = {name: known[name] for name in (scenes or known)}
        if boxes is not None:
            self._scenes = self._followed(boxes, bool(scenes))

    def _followed(self, boxes: Boxes, named: bool) -> dict[str, Record]:
        """Scenes that the tracks cover; a keyframe without an entry is no frame without objects."""
        found = {}
        for name, scene in self._scenes.items():
            tokens = [sample["token"] for sample in self.tables.scene_records(scene).samples]
            lacking = [token for token in tokens if token not in boxes]
            if name in self.annotated or not lacking:
                found[name] = scene
            elif named or len(lacking) < len(tokens):
                raise DataError(
                    f"{len(lacking)} of {len(tokens)} keyframes of scene {name} have no entry in "
                    "the tracks.",
                    path=self.root / self.version,
                    token=lacking[0],
                    fix="make the tracks of whole scenes (lidistill object_bank tracks): an empty "
                    "list stands for a keyframe in which nothing is.",
                )
        if not found:
            raise DataError(
                f"The tracks are of none of the {len(self._scenes)} scenes of {self.version}.",
                path=self.root / self.version,
                fix="name the version that the tracks were made of with --version.",
            )
        return found

    def scenes(self) -> list[str]:
        """Their names, in the tables' order."""
        return list(self._scenes)

    def recorded(self) -> dict[str, object]:
        """What changes the content."""
        told = {
            "layout": "nuscenes",
            "version": self.version,
            "lidar": self.tables.lidar,
            "columns": self.columns,
            "boxes": "annotations" if self.boxes is None else f"tracks {_digest(self.boxes)}",
        }
        mixed = self.boxes is not None and self.annotated
        return {**told, "annotated": sorted(self.annotated)} if mixed else told

    def read(self, scene: str) -> SceneTracks:
        """One scene."""
        records = self.tables.scene_records(self._scenes[scene])
        data = sorted(records.lidar.values(), key=lambda record: int(record["timestamp"]))
        frames = [self._frame(record, records) for record in data]
        index = {
            record["sample_token"]: place
            for place, record in enumerate(data)
            if record["is_key_frame"]
        }
        if self.boxes is not None and scene not in self.annotated:
            rows = _tracked(self.boxes, index)
            return scene_tracks(scene, frames, rows)
        rows, moving = [], {}
        for sample in records.samples:
            for annotation in records.annotations[sample["token"]]:
                if sample["token"] in index:
                    rows.append(_row(annotation, index[sample["token"]]))
                    if any(name.endswith(".moving") for name in annotation["attribute_names"]):
                        moving[annotation["instance_token"]] = True
        return scene_tracks(scene, frames, rows, moving)

    def _frame(self, record: Record, records: SceneRecords) -> Frame:
        pose = records.poses[record["ego_pose_token"]]
        sensor = records.sensors[record["calibrated_sensor_token"]]
        key = bool(record["is_key_frame"])
        return Frame(
            record["sample_token"] if key else record["token"],
            record["timestamp"] / 1e6,
            compose(
                make_transform(pose["rotation"], pose["translation"]),
                make_transform(sensor["rotation"], sensor["translation"]),
            ),
            self.root / record["filename"],
            self.columns,
            key,
        )


def _digest(boxes: Boxes) -> str:
    return hashlib.sha256(json.dumps(boxes, sort_keys=True).encode()).hexdigest()[:12]


def _row(annotation: Record, frame: int) -> tuple[Any, ...]:
    width, length, height = annotation["size"]
    category = annotation["category_name"]
    claimed = annotation["num_lidar_pts"]
    return (
        frame,
        annotation["instance_token"],
        NUSCENES_CLASS_OF.get(category, category),
        make_transform(annotation["rotation"], annotation["translation"]),
        [length, width, height],
        UNKNOWN if claimed is None else int(claimed),
    )


def _tracked(boxes: Boxes, index: dict[str, int]) -> list[tuple[Any, ...]]:
    """Boxes of tracks (nuScenes' tracking format, global frame)."""
    rows: list[tuple[Any, ...]] = []
    for token, frame in index.items():
        for box in boxes[token]:
            width, length, height = box["size"]
            pose = make_transform(box["rotation"], box["translation"])
            name = box["tracking_name"]
            track = str(box["tracking_id"])
            rows.append((frame, track, name, pose, [length, width, height], UNKNOWN))
    return rows
