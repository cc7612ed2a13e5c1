# SPDX-License-Identifier: Apache-2.0
"""Info files of several data sets below one root, and folds that leave one sequence out."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lidistill.converters.info_paths import InfoPaths, camera_names, frame_token
from lidistill.converters.infos import INFO_VERSION, InfoFile, load_infos, write_infos
from lidistill.converters.kitti.tracks import recording
from lidistill.converters.semantic_kitti.labels import SEMANTIC_KITTI_CLASSES
from lidistill.io import DataError

LOGGER = logging.getLogger("lidistill.create_data")
SEMANTIC = "semantickitti_infos_*.pkl"
PAIRED = ("kitti_infos_pretrain.pkl", "kitti_infos_trainval.pkl", "kittiraw_infos_train.pkl")
"""What joins the pretraining besides SemanticKITTI; of one root's files the first that is there."""
ODOMETRY_DRIVES = {
    "00": "2011_10_03_drive_0027_sync",
    "01": "2011_10_03_drive_0042_sync",
    "02": "2011_10_03_drive_0034_sync",
    "03": "2011_09_26_drive_0067_sync",
    "04": "2011_09_30_drive_0016_sync",
    "05": "2011_09_30_drive_0018_sync",
    "06": "2011_09_30_drive_0020_sync",
    "07": "2011_09_30_drive_0027_sync",
    "08": "2011_09_30_drive_0028_sync",
    "09": "2011_09_30_drive_0033_sync",
    "10": "2011_09_30_drive_0034_sync",
}
"""Raw drive of each sequence of the odometry benchmark, of which SemanticKITTI labels the scans.

Source: the benchmark's development kit, ``readme.txt``.
"""
FOLDER = "folds"
KEPT = ("raw_drive", "raw_frame", "first_from_lidar", "pts_semantic_mask_path")


def make_folds(
    root: str | Path, places: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Path]:
    """Writes ``folds/<sequence>/{pretrain,train,val}.pkl`` for each labelled sequence.

    ``val`` is that sequence of SemanticKITTI; ``train`` the labelled scans of the others;
    ``pretrain`` every pair of scan and image below the root but those of the sequence's place: its
    own frames, and frames of KITTI's object and raw data from the same drive. Paths count from the
    root, so one data root serves them all.

    Args:
        root: Folder with converted data sets in it: SemanticKITTI, and KITTI's if there are any.
        places: Sequence -> patterns of further tokens from its place (``training_04*``).

    Returns:
        Sequence -> its folder.

    Raises:
        DataError: There is no info file of SemanticKITTI below the root, only one sequence, or two
            frames of one name; or ``places`` names what is not there.
    """
    root = Path(root)
    files = _info_files(root)
    labelled = joined(root, [path for path in files if fnmatch.fnmatch(path.name, SEMANTIC)])
    labelled = [frame for frame in labelled if "pts_semantic_mask_path" in frame]
    if not labelled:
        raise DataError(
            f"Expected labelled scans of SemanticKITTI ({SEMANTIC}) below this folder.",
            path=root,
            fix="run lidistill create_data semantickitti --root FOLDER_BELOW first.",
        )
    others = joined(root, _paired_files(files))
    known = {frame["token"] for frame in labelled} & {frame["token"] for frame in others}
    if known:
        raise DataError(
            f"Two frames are called {min(known)}: one of SemanticKITTI, one of another data set.",
            path=root,
            fix="move one of the two data sets out of the root, or rename its files and convert it "
            "again.",
        )
    sequences = list(dict.fromkeys(frame["scene_name"] for frame in labelled))
    if len(sequences) < 2:
        raise DataError(
            f"Expected labelled scans of two sequences or more, got {', '.join(sequences)} alone: "
            "nothing is left to train on.",
            path=root,
            fix="convert more sequences (splits.json of SemanticKITTI's root names them).",
        )
    _check_places(places or {}, sequences, others, root)
    _warn_of_unknown_drives(others, sequences)
    folders = {}
    for sequence in sequences:
        patterns = (places or {}).get(sequence, ())
        pairs = [f for f in labelled if f["scene_name"] != sequence]
        pairs += [f for f in others if not _same_place(f, sequence, patterns)]
        content = {
            "pretrain": [frame for frame in pairs if camera_names(frame)],
            "train": [frame for frame in labelled if frame["scene_name"] != sequence],
            "val": [frame for frame in labelled if frame["scene_name"] == sequence],
        }
        folders[sequence] = root / FOLDER / sequence
        for split, frames in content.items():
            write_joined(folders[sequence] / f"{split}.pkl", split, frames, root)
        LOGGER.info(
            "%s: %s",
            folders[sequence],
            ", ".join(f"{split} {len(frames)}" for split, frames in content.items()),
        )
    return folders


def joined(root: Path, files: Iterable[Path]) -> list[dict[str, Any]]:
    """Frames of several info files, every path counted from one root."""
    frames: dict[str, dict[str, Any]] = {}
    for path in files:
        if FOLDER in path.relative_to(root).parts:
            continue
        infos = load_infos(path, need=("lidar_points",))
        for frame in infos.frames:
            new = moved(frame, infos, root)
            old = frames.setdefault(frame_token(frame), new)
            names = [one["lidar_points"]["lidar_path"] for one in (old, new)]
            if names[0] != names[1]:
                raise DataError(
                    f"Two frames are called {frame_token(frame)}: {names[0]} and {names[1]}.",
                    path=path,
                    fix="frames of all data sets below the root need names of their own: move one "
                    "of the two data sets out, or rename its files and convert it again.",
                )
    return list(frames.values())


def moved(frame: Mapping[str, Any], infos: InfoFile, root: Path) -> dict[str, Any]:
    """A frame with what pretraining and segmentation read, its paths counted from ``root``.

    Args:
        frame: of the info file.
        infos: it is from; the file's folder is its data root.
        root: above that folder.
    """
    home = infos.path.parent
    locate = InfoPaths(home, infos.metainfo)
    part = home.relative_to(root).as_posix()

    def under(name: str, kind: str) -> str:
        return f"{part}/{locate(name, kind).relative_to(home).as_posix()}"

    lidar = frame["lidar_points"]
    found: dict[str, Any] = {
        "token": frame_token(frame),
        "scene_name": frame.get("scene_name") or frame.get("raw_drive") or part,
        "lidar_points": {**lidar, "lidar_path": under(lidar["lidar_path"], "pts")},
        "images": {},
        **{key: frame[key] for key in KEPT if key in frame},
    }
    if "pts_semantic_mask_path" in frame:
        mask = under(frame["pts_semantic_mask_path"], "pts_semantic_mask")
        found["pts_semantic_mask_path"] = mask
    for name in camera_names(frame):
        image = frame["images"][name]
        found["images"][name] = {**image, "img_path": under(image["img_path"], name)}
    return found


def write_joined(path: Path, split: str, frames: Sequence[Mapping[str, Any]], root: Path) -> None:
    """Writes frames of :func:`joined` as an info file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {
        "categories": {name: index for index, name in enumerate(SEMANTIC_KITTI_CLASSES)},
        "dataset": "joined",
        "info_version": INFO_VERSION,
        "split": split,
        "writer": "lidistill",
    }
    numbered = [{"sample_idx": number, **frame} for number, frame in enumerate(frames)]
    write_infos(path, meta, numbered, {"split": split}, str(root))


def _info_files(root: Path) -> list[Path]:
    """Info files below the root; a data set may be a link to another disk, and counts once."""
    seen: set[str] = set()
    found: list[Path] = []
    for top, folders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(top)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        found += [Path(top, name) for name in names if name.endswith(".pkl")]
    return sorted(found)


def _paired_files(files: Sequence[Path]) -> list[Path]:
    """Of each folder the first file of :data:`PAIRED`."""
    found: dict[Path, Path] = {}
    for name in PAIRED:
        for path in files:
            if path.name == name:
                found.setdefault(path.parent, path)
    return list(found.values())


def _check_places(
    places: Mapping[str, Sequence[str]],
    sequences: Sequence[str],
    others: Sequence[Mapping[str, Any]],
    root: Path,
) -> None:
    """A slip in ``places`` would leave frames of the judged place in the pretraining."""
    for sequence, patterns in places.items():
        if sequence not in sequences:
            raise DataError(
                f"Expected places of the sequences {', '.join(sequences)}, got {sequence!r}.",
                path=root,
                fix="correct the sequence of --place.",
            )
        for pattern in patterns:
            if not any(fnmatch.fnmatch(frame["token"], pattern) for frame in others):
                example = others[0]["token"] if others else "none: there is no other data set"
                raise DataError(
                    f"No frame fits the pattern {pattern!r} of place {sequence}; frames are called "
                    f"as {example}.",
                    path=root,
                    fix="correct the pattern of --place, or leave it out.",
                )


def _warn_of_unknown_drives(others: Sequence[Mapping[str, Any]], sequences: Sequence[str]) -> None:
    unknown = [frame["token"] for frame in others if not frame.get("raw_drive")]
    if unknown:
        LOGGER.warning(
            "%d frames do not say which raw drive they are from (%s, ...): frames of the place of "
            "%s may be among them. Put KITTI's devkit/mapping below their root and convert again, "
            "or name them with --place",
            len(unknown),
            unknown[0],
            " or ".join(sequences),
        )


def _same_place(frame: Mapping[str, Any], sequence: str, patterns: Sequence[str]) -> bool:
    drive = ODOMETRY_DRIVES.get(sequence)
    if drive is not None and recording(frame.get("raw_drive", "")) == recording(drive):
        return True
    return any(fnmatch.fnmatch(frame["token"], pattern) for pattern in patterns)
