# SPDX-License-Identifier: Apache-2.0
"""Which frames are in which split of a data set in KITTI's layout."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lidistill.converters.kitti.tracks import Origin
from lidistill.io import DataError, plain_name, read_json, read_text

LOGGER = logging.getLogger("lidistill.create_data")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
PRETRAIN = "pretrain"
"""Split of training frames of which image and scan count; labels may be missing."""
SPLITS = ("train", "val", "trainval", "test", PRETRAIN)
DRIVES = {
    "train": ("2011_09_26_drive_0001_sync", "2011_09_26_drive_0005_sync"),
    "val": ("2011_09_26_drive_0009_sync", "2011_09_26_drive_0052_sync"),
}
"""What ``--split drives`` takes: no drive is in both, so no street is seen twice."""
BY_DRIVE = "drives"
_DIGITS = 6  # KITTI's names: 000000
_SHOWN = 5


def find_frames(
    root: Path, split: str | Path | None = None, origins: Mapping[int, Origin] | None = None
) -> tuple[dict[str, list[str]], str]:
    """Returns the frames of each split, and whether they come from ``ImageSets`` or ``files``.

    A frame is known by its files' name without suffix, any text; a short number stands for KITTI's
    six digits.

    Args:
        root: The data root.
        split: None takes ``ImageSets/``; ``drives`` the drives of :data:`DRIVES`; or a JSON file,
            ``{"train": [...], "val": [...]}``, with names of frames or of raw drives.
        origins: Raw drive of each training frame, for splits that name drives.

    Raises:
        DataError: There are neither lists nor labelled frames, a list is empty or no list, or a
            frame is in train and val.
    """
    folder = root / "ImageSets"
    lists = {split: folder / f"{split}.txt" for split in SPLITS}
    if split is not None:
        splits, origin = _chosen(split, origins or {}), str(split)
    else:
        splits = {name: read_frame_list(path) for name, path in lists.items() if path.exists()}
        origin = "ImageSets"
    if not splits:
        splits, origin = _frames_of_files(root), "files"
        if any(splits.values()):
            sizes = ", ".join(f"{name} {len(frames)}" for name, frames in splits.items())
            LOGGER.warning("%s holds no lists: splits derived from the files: %s", folder, sizes)
    if "train" in splits and "val" in splits:
        both = set(splits["train"]) & set(splits["val"])
        if both:
            raise DataError(
                f"Expected train and val to share no frame, but {len(both)} are in both: "
                f"{_some(sorted(both))}.",
                path=lists["train"],
                fix=f"take them out of this list, or out of {lists['val']}.",
            )
        joined = splits["train"] + splits["val"]
        if set(splits.get("trainval", joined)) == set(joined):  # else it is a list of its own
            splits["trainval"] = joined
    order = [name for name in SPLITS if splits.get(name)]
    if not order:
        raise DataError(
            "Expected KITTI's object benchmark: ImageSets/*.txt or training/label_2/*.txt; got "
            "neither.",
            path=root,
            fix="pass the folder that holds training/ and testing/ with --root; a synthetic one "
            "comes from: lidistill world --layout kitti --out DIR",
        )
    return {name: splits[name] for name in order}, origin


def _chosen(split: str | Path, origins: Mapping[int, Origin]) -> dict[str, list[str]]:
    """Frames of a split that names drives or frames.

    Raises:
        DataError: It is no file of splits, or names a drive of which no frame is known.
    """
    if str(split) == BY_DRIVE:
        named: dict[str, Sequence[str]] = dict(DRIVES)
    else:
        named = read_json(Path(split))
        if (
            not isinstance(named, dict)
            or not any(named.values())
            or not all(
                name in SPLITS
                and isinstance(content, list)
                and all(isinstance(entry, str) and entry for entry in content)
                for name, content in named.items()
            )
        ):
            raise DataError(
                f"Expected splits among {', '.join(SPLITS)} with names of frames or drives.",
                path=split,
                fix='write {"train": ["000003", "2011_09_26_drive_0005_sync"], "val": [...]}.',
            )
    frames_of: dict[str, list[str]] = {}
    for frame in sorted(origins):
        frames_of.setdefault(origins[frame].drive, []).append(f"{frame:0{_DIGITS}d}")
    found: dict[str, list[str]] = {}
    for name, entries in named.items():
        frames: list[str] = []
        for entry in entries:
            if "_drive_" not in entry:
                frames.append(_frame_id(entry, Path(split), 1))
            elif entry in frames_of:
                frames += frames_of[entry]
            else:
                raise _unknown_drive(entry, split, frames_of)
        found[name] = list(dict.fromkeys(frames))
    return found


def _unknown_drive(drive: str, split: str | Path, known: Mapping[str, Sequence[str]]) -> DataError:
    if not known:
        return DataError(
            f"Which frames are of drive {drive} is not known: the devkit's mapping is not there.",
            path=None if str(split) == BY_DRIVE else split,
            fix="extract KITTI's devkit_object.zip into <root>/devkit_object (its folder mapping), "
            "or name frames in a file of splits.",
        )
    return DataError(
        f"No training frame is of drive {drive}; drives there: {_some(sorted(known))}.",
        path=None if str(split) == BY_DRIVE else split,
        fix="correct the name, or leave it out.",
    )


def read_frame_list(path: Path) -> list[str]:
    """Reads ``ImageSets/<split>.txt``: one frame a line. One that is there twice is taken once.

    Raises:
        DataError: It is no text file, or empty, or a line is no name of a frame; names the line.
    """
    if path.is_dir():
        raise DataError(
            "Expected a list of frames, got a folder.", path=path, fix="put the list in its place."
        )
    found: list[str] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            found.append(_frame_id(line.strip(), path, number))
    if not found:
        raise DataError(
            "Expected one frame a line, but this list is empty.",
            path=path,
            fix="name the split's frames in it, or delete it: then there is no such split.",
        )
    again = [name for name, count in Counter(found).items() if count > 1]
    if again:
        LOGGER.warning("%s: listed more than once, taken once: %s", path, _some(again))
    return list(dict.fromkeys(found))


def _frame_id(text: str, path: Path, number: int) -> str:
    fine = len(text.split()) == 1 and not (text[0] in "+-" and text[1:].isdecimal())
    if fine:
        try:
            plain_name(text, "frame's name")
        except DataError:
            fine = False
    if not fine:
        raise DataError(
            f"Line {number}: expected the name of a frame's files without suffix, got {text!r}.",
            path=path,
            fix="write one a line, e.g. 000012; folders in the name are not possible.",
        )
    return text.zfill(_DIGITS) if text.isascii() and text.isdecimal() else text


def _frames_of_files(root: Path) -> dict[str, list[str]]:
    labelled = _names((root / "training" / "label_2").glob("*.txt"))
    images = (root / "testing" / "image_2").glob("*.*")
    test = _names(path for path in images if path.suffix in IMAGE_SUFFIXES)
    if not test:
        test = _names((root / "testing" / "velodyne").glob("*.bin"))
    return {"train": labelled[::2], "val": labelled[1::2], "test": test}


def _names(paths: Iterable[Path]) -> list[str]:
    return sorted({path.stem for path in paths if not path.name.startswith(".")}, key=order_of)


def order_of(frame: str) -> tuple[int, str]:
    """Numbers in their order, other names after them by alphabet."""
    return (int(frame), frame) if frame.isascii() and frame.isdecimal() else (1 << 63, frame)


def numbers_of(frames: Iterable[str]) -> dict[str, int]:
    """The ``sample_idx`` of each frame: its own number; where not all are numbers, its place."""
    ordered = sorted(set(frames), key=order_of)
    own = [int(name) if name.isascii() and name.isdecimal() else -1 for name in ordered]
    if min(own, default=0) < 0 or len(set(own)) < len(own):
        own = list(range(len(ordered)))
    return dict(zip(ordered, own, strict=True))


def warn_of_shared_drives(
    splits: Mapping[str, Sequence[str]], origins: Mapping[int, Origin]
) -> None:
    """Frames of one drive look alike, so a drive in train and val makes val's numbers too good."""
    drives = {
        split: {origins[n].drive for n, _ in map(order_of, splits.get(split, ())) if n in origins}
        for split in ("train", "val")
    }
    both = sorted(drives["train"] & drives["val"])
    if both:
        LOGGER.warning(
            "%d of %d drives of val have frames in train too, so val is seen in part: %s",
            len(both),
            len(drives["val"]),
            _some(both),
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
