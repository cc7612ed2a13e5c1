# SPDX-License-Identifier: Apache-2.0
"""Where KITTI's object frames come from: raw drive and frame, and the tracks of their objects."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lidistill.converters.kitti.files import AGAIN, Labels
from lidistill.io import DataError, read_text

MAX_NUMBER = 2**31  # of frames and tracks


@dataclass(frozen=True)
class Origin:
    """What is known of a training frame beyond the object benchmark's own files.

    Attributes:
        drive: Raw sequence (``2011_09_26_drive_0001_sync``).
        frame: Frame number in it.
        tracks: Class and track id of each label line; None without tracking labels of this frame.
    """

    drive: str
    frame: int
    tracks: tuple[tuple[str, int], ...] | None = None

    def track_ids(self, labels: Labels, path: Path, token: str) -> list[int] | None:
        """Returns the track id of each label, -1 for DontCare; None without tracking labels.

        Raises:
            DataError: The tracking labels list other objects than the frame's labels.
        """
        if self.tracks is None:
            return None
        if tuple(name for name, _ in self.tracks) != labels.names:
            raise DataError(
                f"Expected the objects of the tracking labels ({len(self.tracks)}) in the same "
                f"order, got {len(labels.names)} labels.",
                path=path,
                token=token,
                fix="generate the world again: lidistill world --layout kitti",
            )
        return [track for _, track in self.tracks]


def recording(drive: str) -> str:
    """A raw drive's name without how it was processed: ``_sync`` and ``_extract`` are one road."""
    return drive.removesuffix("_sync").removesuffix("_extract")


def find_origins(root: Path) -> dict[int, Origin]:
    """Returns the origin of each training frame; empty without the devkit's mapping files.

    The embedded world also writes ``tracking/training/label_02``, one file a drive in the order of
    the drives, so its frames get track ids. Real KITTI's tracking benchmark numbers its sequences
    in another way, and gets none here.

    Args:
        root: The data root, with ``devkit/mapping`` (or ``devkit_object/mapping``) in it.

    Raises:
        DataError: The mapping files are damaged.
    """
    for folder in (root / "devkit" / "mapping", root / "devkit_object" / "mapping"):
        rows_file, order_file = folder / "train_mapping.txt", folder / "train_rand.txt"
        if not (rows_file.exists() or order_file.exists()):
            continue
        try:
            lines = read_text(rows_file).splitlines()
            rows = [line.split() for line in lines if line.strip()]
            order = [int(n) for n in read_text(order_file).split(",")]
            if sorted(order) != list(range(1, len(rows) + 1)):
                raise ValueError(
                    f"{order_file.name} must name each of the {len(rows)} lines once, from 1; it "
                    f"has {len(order)} numbers, {len(set(order))} of them different"
                )
            raw = [(rows[n - 1][1], int(rows[n - 1][2])) for n in order]
        except DataError:
            raise
        except (ValueError, IndexError) as error:
            raise DataError(
                f"Expected lines 'date drive frame' and an order of them: {error}.",
                path=rows_file,
                fix=f"{AGAIN} Without this folder it is not known which drive a frame is from.",
            ) from error
        tracks = _tracks(root, list(dict.fromkeys(row[1] for row in rows)))
        nothing = {drive: () for drive, _ in tracks}  # a drive's file has all its objects
        return {
            frame: Origin(drive, number, tracks.get((drive, number), nothing.get(drive)))
            for frame, (drive, number) in enumerate(raw)
        }
    return {}


def _tracks(root: Path, drives: list[str]) -> dict[tuple[str, int], tuple[tuple[str, int], ...]]:
    found: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
    if (root / "SYNTHETIC").is_file():
        for number, drive in enumerate(drives):
            path = root / "tracking" / "training" / "label_02" / f"{number:04d}.txt"
            lines = read_text(path).splitlines() if path.exists() else []
            for row, line in enumerate(lines, start=1):
                try:
                    frame, track, name = line.split(maxsplit=3)[:3]
                    if not (0 <= int(frame) < MAX_NUMBER and -1 <= int(track) < MAX_NUMBER):
                        raise ValueError("a number out of range")
                    found[drive, int(frame)].append((name, int(track)))
                except ValueError as error:
                    raise DataError(
                        f"Line {row}: expected frame, track and class, got {line[:60]!r}.",
                        path=path,
                        fix="generate the world again: lidistill world --layout kitti",
                    ) from error
    return {key: tuple(value) for key, value in found.items()}
