# SPDX-License-Identifier: Apache-2.0
"""nuScenes' tables read once and cut into scenes, so that each scene is an independent job."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from lidistill.converters.info_paths import default_prefix
from lidistill.converters.nuscenes.schema import TABLES, Record, read_table, record_name, remedy
from lidistill.geometry.plausible import intrinsics_fault
from lidistill.io import DataError, inside, plain_name

LOGGER = logging.getLogger("lidistill.create_data")

OPTIONAL = ("lidarseg", "visibility")
LIDAR = "LIDAR_TOP"


def find_versions(root: Path) -> list[str]:
    """Returns the names of the folders under a data root that hold nuScenes' tables."""
    if not root.is_dir():
        return []
    return sorted(path.parent.name for path in root.glob("*/scene.json"))


def table_files(folder: Path) -> list[Path]:
    """Returns every file of a tables' folder in order of its name."""
    return sorted(folder.glob("*.json"))


@dataclass
class SceneRecords:
    """Everything in the tables that one scene needs.

    Attributes:
        scene: Its record.
        samples: Keyframes in the order of time.
        lidar: LiDAR keyframes and sweeps by token.
        keyframes: Sample token -> channel -> key frame (LiDAR and cameras).
        annotations: Sample token -> annotations, each with ``category_name``, ``attribute_names``
            and ``visibility`` (0: unknown) filled in.
        poses: Ego poses by token.
        sensors: Calibrated sensors by token, each with ``channel`` and ``modality``.
        lidarseg: File of the point labels by LiDAR token; empty without the table.
        channel: Of the LiDAR.
        folders: Of those files that an info names alone, by kind (see
            :func:`lidistill.converters.info_paths.default_prefix`); the path of files of another
            kind is written whole.
    """

    scene: Record
    samples: list[Record]
    lidar: dict[str, Record]
    keyframes: dict[str, dict[str, Record]]
    annotations: dict[str, list[Record]]
    poses: dict[str, Record]
    sensors: dict[str, Record]
    lidarseg: dict[str, str]
    channel: str
    folders: dict[str, str]


class NuScenesTables:
    """The tables of one version of a nuScenes data set.

    Args:
        root: The data root.
        version: The tables' folder in it.
        lidar: Channel of the LiDAR; None takes LIDAR_TOP, or the only one.

    Raises:
        DataError: The version is not there (names those that are), a table is missing or broken, or
            the LiDAR is not known.
    """

    def __init__(self, root: Path, version: str, lidar: str | None = None) -> None:
        self.root, self.folder = root, root / version
        if not (self.folder / "scene.json").is_file():
            raise self._unknown_version(root, version)
        read = {name: self._table(name) for name in TABLES}
        self.scenes: list[Record] = read["scene"]
        named: dict[str, str] = {}
        for scene in self.scenes:
            self._safe("scene", scene, "token", plain_name)
            if named.setdefault(scene["name"], scene["token"]) != scene["token"]:
                what = (
                    f"Expected each scene under a name of its own, but another scene is called "
                    f"{scene['name']!r} too (token {named[scene['name']]})."
                )
                raise self._error("scene", what, scene["token"])
        self._by_token = {
            name: {record["token"]: record for record in read[name]}
            for name in ("attribute", "category", "ego_pose", "instance", "sample", "sensor")
        }
        self._by_token["calibrated_sensor"] = self._sensors(read["calibrated_sensor"])
        self._levels = {record["token"]: k + 1 for k, record in enumerate(read["visibility"])}
        self._levels |= {record["level"]: k + 1 for k, record in enumerate(read["visibility"])}
        self.lidar = self._choose_lidar(read["sample_data"], lidar)
        self._data = self._grouped_data(read["sample_data"])
        self._annotations = self._grouped_annotations(read["sample_annotation"])
        self._samples = self._grouped_samples(read["sample"])
        self._lidarseg = {
            record["sample_data_token"]: self._below_root("lidarseg", record)
            for record in read["lidarseg"]
        }
        self._folders = self._plain_folders(version)

    def _table(self, name: str) -> list[Record]:
        if name in OPTIONAL and not (self.folder / f"{name}.json").exists():
            return []
        return read_table(self.folder, name)

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

    def _follow(self, table: str, record: Record, target: str, token: str) -> Record:
        """The record of a target table that a token in a record refers to."""
        found = self._by_token[target].get(token)
        if found is None:
            what = (
                f"The tables are broken: {target}.json has no record of token {token!r}, which "
                f"this record of {table}.json refers to."
            )
            raise self._error(table, what, record_name(record, 0))
        return found

    def _sensor_of(self, data: Record) -> Record:
        token = data["calibrated_sensor_token"]
        return self._follow("sample_data", data, "calibrated_sensor", token)

    def _error(self, table: str, what: str, token: str) -> DataError:
        path = self.folder / f"{table}.json"
        return DataError(what, path=path, token=token, fix=remedy(self.folder))

    def _safe(
        self, table: str, record: Record, key: str, check: Callable[[str, str], object]
    ) -> None:
        """A name of others that becomes part of a path; see :mod:`lidistill.io.names`."""
        try:
            check(record[key], "name")
        except DataError as error:
            token = record_name(record, 0)
            raise self._error(table, f"{key!r}: {error.what}", token) from error

    def _below_root(self, table: str, record: Record) -> str:
        """The file name of a record, relative to the root, with ``/`` between folders."""
        self._safe(table, record, "filename", lambda name, what: inside(self.root, name, what))
        return str(PurePosixPath(record["filename"].replace("\\", "/")))

    def _sensors(self, records: list[Record]) -> dict[str, Record]:
        result = {}
        for record in records:
            sensor = self._follow("calibrated_sensor", record, "sensor", record["sensor_token"])
            extra = {"channel": sensor["channel"], "modality": sensor["modality"]}
            result[record["token"]] = {**record, **extra}
        return result

    def _choose_lidar(self, records: Iterable[Record], wanted: str | None) -> str:
        """The channel that is asked for, LIDAR_TOP, or the only one that has key frames."""
        used = {r["calibrated_sensor_token"]: r for r in records if r["is_key_frame"]}
        sensors = [self._sensor_of(record) for record in used.values()]
        found = sorted({s["channel"] for s in sensors if s["modality"] == "lidar"})
        if wanted in found or (wanted is None and LIDAR in found):
            return wanted or LIDAR
        if wanted is None and len(found) == 1:
            LOGGER.info("the LiDAR is %s", found[0])
            return found[0]
        there = ", ".join(found) if found else "none"
        raise DataError(
            f"Expected key frames of {wanted or 'one LiDAR'} (a sensor of modality 'lidar'); "
            f"LiDARs that have some: {there}.",
            path=self.folder / "sample_data.json",
            fix="name one of them with --lidar CHANNEL."
            if found
            else "give the LiDAR the modality 'lidar' in sensor.json, and its frames records with "
            "is_key_frame true in sample_data.json.",
        )

    def _grouped_data(self, records: list[Record]) -> dict[str, list[Record]]:
        """LiDAR frames and camera key frames by scene; radar and camera sweeps are left out."""
        groups: dict[str, list[Record]] = defaultdict(list)
        checked: set[str] = set()
        for record in records:
            sensor = self._sensor_of(record)
            camera = sensor["modality"] == "camera" and record["is_key_frame"]
            if not camera and sensor["channel"] != self.lidar:
                continue
            record["filename"] = self._below_root("sample_data", record)
            if camera:
                self._safe("sample_data", record, "token", plain_name)  # names its superpixels
                if sensor["token"] not in checked:
                    self._check_camera(sensor)
                    checked.add(sensor["token"])
            sample = self._follow("sample_data", record, "sample", record["sample_token"])
            groups[sample["scene_token"]].append(record)
        return groups

    def _check_camera(self, sensor: Record) -> None:
        matrix = sensor["camera_intrinsic"]
        fault = intrinsics_fault(matrix) if matrix else "expected a 3 x 3 camera matrix, got []"
        if not fault and matrix[2] != [0, 0, 1]:
            fault = f"expected a last row of 0 0 1, got {matrix[2]}"
        if fault:
            what = f"'camera_intrinsic' of {sensor['channel']}: {fault}."
            raise self._error("calibrated_sensor", what, sensor["token"])

    def _grouped_annotations(self, records: list[Record]) -> dict[str, list[Record]]:
        groups: dict[str, list[Record]] = defaultdict(list)
        follow = partial(self._follow, "sample_annotation")
        for record in records:
            follow(record, "sample", record["sample_token"])
            instance = follow(record, "instance", record["instance_token"])
            category = self._follow("instance", instance, "category", instance["category_token"])
            attributes = [
                follow(record, "attribute", token)["name"] for token in record["attribute_tokens"]
            ]
            extra = {
                "category_name": category["name"],
                "attribute_names": attributes,
                "visibility": self._visibility(record["visibility_token"]),
            }
            groups[record["sample_token"]].append({**record, **extra})
        return groups

    def _visibility(self, token: str | int) -> int:
        """nuScenes' own tokens are numbers; of others the place in the table; 0 is unknown."""
        text = str(token)
        if text.isascii() and text.isdigit() and len(text) == 1:
            return int(text)
        return self._levels.get(text, 0)

    def _grouped_samples(self, records: list[Record]) -> dict[str, list[Record]]:
        """By scene, in the order of time, in which no two may coincide."""
        known = {scene["token"] for scene in self.scenes}
        groups: dict[str, list[Record]] = defaultdict(list)
        for sample in sorted(records, key=lambda record: record["timestamp"]):
            if sample["scene_token"] not in known:
                what = f"'scene_token': no record of {sample['scene_token']!r} in scene.json."
                raise self._error("sample", what, sample["token"])
            group = groups[sample["scene_token"]]
            if group and group[-1]["timestamp"] == sample["timestamp"]:
                what = (
                    "Expected samples of a scene one after the other, but this one and "
                    f"{group[-1]['token']} have the same timestamp, {sample['timestamp']}."
                )
                raise self._error("sample", what, sample["token"])
            group.append(sample)
        return groups

    def _plain_folders(self, version: str) -> dict[str, str]:
        """Kinds of files all of which lie where nuScenes has them: infos name them alone.

        One reader's prefix must do for all files of a kind, hence all or none.
        """
        prefix: Mapping[str, str] = default_prefix({"dataset": "nuscenes", "version": version})
        elsewhere = {
            name for name, path in self._named_files() if _parent(path) != prefix.get(name)
        }
        if elsewhere:
            LOGGER.info("not in nuScenes' own folders: %s", ", ".join(sorted(elsewhere)))
        return {name: folder for name, folder in prefix.items() if name not in elsewhere}

    def _named_files(self) -> Iterable[tuple[str, str]]:
        """Kind and name of every file that an info names below a prefix."""
        for record in (record for group in self._data.values() for record in group):
            if record["is_key_frame"]:
                channel = self._sensor_of(record)["channel"]
                yield "pts" if channel == self.lidar else channel, record["filename"]
        for name in self._lidarseg.values():
            yield "pts_semantic_mask", name

    def scene_records(self, scene: Record) -> SceneRecords:
        """Returns what one scene needs."""
        samples = self._samples[scene["token"]]
        data = self._data[scene["token"]]
        keyframes: dict[str, dict[str, Record]] = {sample["token"]: {} for sample in samples}
        lidar, poses, sensors = {}, {}, {}
        for record in data:
            sensor = self._sensor_of(record)
            sensors[sensor["token"]] = sensor
            pose = record["ego_pose_token"]
            poses[pose] = self._follow("sample_data", record, "ego_pose", pose)
            if sensor["channel"] == self.lidar:
                lidar[record["token"]] = record
            if record["is_key_frame"]:
                views = keyframes[record["sample_token"]]
                other = views.setdefault(sensor["channel"], record)
                if other is not record:
                    what = (
                        f"Expected one key frame of {sensor['channel']} for each sample, but "
                        f"{other['token']} and this one both belong to {record['sample_token']}."
                    )
                    raise self._error("sample_data", what, record["token"])
        return SceneRecords(
            scene=scene,
            samples=samples,
            lidar=lidar,
            keyframes=keyframes,
            annotations={s["token"]: self._annotations.get(s["token"], []) for s in samples},
            poses=poses,
            sensors=sensors,
            lidarseg={token: self._lidarseg[token] for token in lidar if token in self._lidarseg},
            channel=self.lidar,
            folders=self._folders,
        )

    def category_names(self) -> list[str]:
        """Returns the names of all categories in the tables."""
        return [record["name"] for record in self._by_token["category"].values()]


def _parent(name: str) -> str:
    return str(PurePosixPath(name).parent)
