# SPDX-License-Identifier: Apache-2.0
"""nuScenes' tables read once and cut into scenes, so that each scene is an independent job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.io import DataError, read_json

Record = dict[str, Any]

TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
)
LIDAR = "LIDAR_TOP"


def find_versions(root: Path) -> list[str]:
    """Returns the names of the folders under a data root that hold nuScenes' tables."""
    if not root.is_dir():
        return []
    return sorted(path.parent.name for path in root.glob("*/scene.json"))


@dataclass
class SceneRecords:
    """Everything in the tables that one scene needs.

    Attributes:
        scene: Its record.
        samples: Keyframes in the order of time.
        lidar: LiDAR keyframes and sweeps by token.
        keyframes: Sample token -> channel -> key frame (LiDAR and cameras).
        annotations: Sample token -> annotations, each with ``category_name`` and
            ``attribute_names`` filled in.
        poses: Ego poses by token.
        sensors: Calibrated sensors by token, each with ``channel`` and ``modality``.
        lidarseg: File of the point labels by LiDAR token; empty without the table.
    """

    scene: Record
    samples: list[Record]
    lidar: dict[str, Record]
    keyframes: dict[str, dict[str, Record]]
    annotations: dict[str, list[Record]]
    poses: dict[str, Record]
    sensors: dict[str, Record]
    lidarseg: dict[str, str]


class NuScenesTables:
    """The tables of one version of a nuScenes data set.

    Args:
        root: The data root.
        version: The tables' folder in it.

    Raises:
        DataError: The version is not there (names those that are), or a table is missing or broken.
    """

    def __init__(self, root: Path, version: str) -> None:
        self.folder = root / version
        if not (self.folder / "scene.json").is_file():
            raise self._unknown_version(root, version)
        fix = f"extract the tables of {version} again, all of them, into {self.folder}."
        read = {name: read_json(self.folder / f"{name}.json", fix) for name in TABLES}
        self.scenes: list[Record] = read["scene"]
        self._by_token = {
            name: {record["token"]: record for record in read[name]}
            for name in ("attribute", "category", "ego_pose", "instance", "sample", "sensor")
        }
        self._by_token["calibrated_sensor"] = self._sensors(read["calibrated_sensor"])
        self._data = self._grouped_data(read["sample_data"])
        self._annotations = self._grouped_annotations(read["sample_annotation"])
        self._samples = defaultdict(list)
        for sample in sorted(read["sample"], key=lambda record: record["timestamp"]):
            self._samples[sample["scene_token"]].append(sample)
        self._lidarseg = self._lidarseg_files()

    @staticmethod
    def _unknown_version(root: Path, version: str) -> DataError:
        found = find_versions(root)
        there = f"versions found: {', '.join(found)}" if found else "no version was found"
        return DataError(
            f"Expected nuScenes tables of version {version!r}; {there} in {root}.",
            path=root / version / "scene.json",
            fix="pass one of those with --version, or the folder that holds samples/ and the "
            "tables' folder with --root."
            if found
            else "pass the folder that holds samples/ and the tables' folder with --root; "
            "a synthetic one comes from: lidistill world --layout nuscenes --out DIR",
        )

    def get(self, table: str, token: str) -> Record:
        """Returns a record; a token that is not in its table raises DataError."""
        record = self._by_token[table].get(token)
        if record is None:
            raise DataError(
                f"The tables are broken: {table}.json has no record of token {token!r}, which "
                "another table refers to.",
                path=self.folder / f"{table}.json",
                fix=f"extract the tables again into {self.folder}.",
            )
        return record

    def _sensors(self, records: list[Record]) -> dict[str, Record]:
        result = {}
        for record in records:
            sensor = self.get("sensor", record["sensor_token"])
            extra = {"channel": sensor["channel"], "modality": sensor["modality"]}
            result[record["token"]] = {**record, **extra}
        return result

    def _grouped_data(self, records: list[Record]) -> dict[str, list[Record]]:
        """LiDAR frames and camera key frames by scene; radar and camera sweeps are left out."""
        groups: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            sensor = self.get("calibrated_sensor", record["calibrated_sensor_token"])
            camera = sensor["modality"] == "camera" and record["is_key_frame"]
            if camera or sensor["channel"] == LIDAR:
                sample = self.get("sample", record["sample_token"])
                groups[sample["scene_token"]].append(record)
        return groups

    def _grouped_annotations(self, records: list[Record]) -> dict[str, list[Record]]:
        groups: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            instance = self.get("instance", record["instance_token"])
            category = self.get("category", instance["category_token"])["name"]
            attributes = [
                self.get("attribute", token)["name"] for token in record["attribute_tokens"]
            ]
            extra = {"category_name": category, "attribute_names": attributes}
            groups[record["sample_token"]].append({**record, **extra})
        return groups

    def _lidarseg_files(self) -> dict[str, str]:
        path = self.folder / "lidarseg.json"
        if not path.exists():
            return {}
        return {record["sample_data_token"]: record["filename"] for record in read_json(path)}

    def scene_records(self, scene: Record) -> SceneRecords:
        """Returns what one scene needs."""
        samples = self._samples[scene["token"]]
        data = self._data[scene["token"]]
        keyframes: dict[str, dict[str, Record]] = {sample["token"]: {} for sample in samples}
        lidar, poses, sensors = {}, {}, {}
        for record in data:
            sensor = self.get("calibrated_sensor", record["calibrated_sensor_token"])
            sensors[sensor["token"]] = sensor
            poses[record["ego_pose_token"]] = self.get("ego_pose", record["ego_pose_token"])
            if sensor["channel"] == LIDAR:
                lidar[record["token"]] = record
            if record["is_key_frame"]:
                keyframes[record["sample_token"]][sensor["channel"]] = record
        return SceneRecords(
            scene=scene,
            samples=samples,
            lidar=lidar,
            keyframes=keyframes,
            annotations={s["token"]: self._annotations.get(s["token"], []) for s in samples},
            poses=poses,
            sensors=sensors,
            lidarseg={token: self._lidarseg[token] for token in lidar if token in self._lidarseg},
        )

    def category_names(self) -> list[str]:
        """Returns the names of all categories in the tables."""
        return [record["name"] for record in self._by_token["category"].values()]


def table_files(folder: Path) -> Iterator[Path]:
    """Yields every file of a tables' folder in order of its name."""
    yield from sorted(folder.glob("*.json"))
