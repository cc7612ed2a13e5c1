# SPDX-License-Identifier: Apache-2.0
"""Which frames are in which split of a data set in KITTI's layout."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lidistill.converters.kitti.tracks import Origin
from lidistill.io import DataError, plain_name, read_text

LOGGER = logging.getLogger("lidistill.create_data")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_DIGITS = 6  # KITTI's names: 000000
_SHOWN = 5


def find_frames(root: Path) -> tuple[dict[str, list[str]], str]:
    """Returns the frames of each split, and whether they come from ``ImageSets`` or ``files``.

    A frame is known by its files' name without suffix, any text; a short number stands for KITTI's
    six digits.

    Raises:
        DataError: There are neither lists nor labelled frames, a list is empty or no list, or a
            frame is in train and val.
    """
    folder = root / "ImageSets"
    lists = {split: folder / f"{split}.txt" for split in ("train", "val", "trainval", "test")}
    splits = {split: read_frame_list(path) for split, path in lists.items() if path.exists()}
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
        splits["trainval"] = splits["train"] + splits["val"]
    order = [name for name in ("train", "val", "trainval", "test") if splits.get(name)]
    if not order:
        raise DataError(
            "Expected KITTI's object benchmark: ImageSets/*.txt or training/label_2/*.txt; got "
            "neither.",
            path=root,
            fix="pass the folder that holds training/ and testing/ with --root; a synthetic one "
            "comes from: lidistill world --layout kitti --out DIR",
        )
    return {name: splits[name] for name in order}, origin


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
