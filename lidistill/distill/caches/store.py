# SPDX-License-Identifier: Apache-2.0
"""Feature maps on disk: one small file per image and tap, in half precision, within a budget."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from lidistill import io

TOOL = "lidistill cache_teacher"
GIB = 2**30
_SIDE_FILES = 256  # what .npy spends on its header, at most
_TYPES = {False: np.float16, True: np.float32}


class FeatureStore:
    """Maps (C, h, w) float16 by token and tap.

    Any number of processes, on any number of machines that share the folder, may read and write at
    once: files are moved into place whole, and the budget is kept in one file under a lock.

    Args:
        folder: The store; made when missing.
        parameters: Everything that changes the maps: the teacher's fingerprint, input size, ...
        budget_gib: Gibibytes on disk, beyond which nothing more is kept.
        create: False refuses a folder without a store.

    Raises:
        DataError: The store holds maps of other parameters, or there is none.
    """

    def __init__(
        self,
        folder: str | Path,
        parameters: Mapping[str, Any],
        budget_gib: float = 100.0,
        create: bool = True,
    ) -> None:
        self.folder, self.parameters = Path(folder), dict(parameters)
        self.budget = int(budget_gib * GIB)
        manifest = self.folder / "manifest.json"
        command = f"{TOOL} CONFIG --out {self.folder}"
        if manifest.is_file():
            self._check(io.read_manifest(self.folder)["parameters"], command)
        elif not create:
            raise io.DataError("No teacher cache there.", path=self.folder, fix=f"run: {command}")
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise io.DataError(
                "Expected a teacher cache or an empty folder, but other files are there.",
                path=self.folder,
                fix="give another folder.",
            )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.describe(0)

    def _check(self, found: Mapping[str, Any], command: str) -> None:
        different = {
            key: (value, found.get(key))
            for key, value in self.parameters.items()
            if found.get(key) != value
        }
        if different:
            words = "; ".join(
                f"{key}: expected {want}, got {have}" for key, (want, have) in different.items()
            )
            raise io.DataError(
                f"This cache was made by another teacher or from other images ({words}).",
                path=self.folder,
                fix=f"delete it and run: {command}; or name another folder in the config.",
            )

    def describe(self, count: int, source: str = "training") -> None:
        """Write the manifest."""
        io.write_manifest(self.folder, TOOL, self.parameters, count, source)

    def path(self, token: str, tap: str) -> Path:
        """File of one map."""
        name = quote(token, safe="")
        return self.folder / tap / name[-2:] / f"{name}.npy"

    def has(self, token: str, taps: Sequence[str]) -> bool:
        """Whether all maps of an image are there."""
        return all(self.path(token, tap).is_file() for tap in taps)

    def read(self, token: str, tap: str, exact: bool = False) -> NDArray[np.floating] | None:
        """One map (C, h, w), or None; a damaged file is removed and counts as missing."""
        path = self.path(token, tap)
        try:
            values = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            return None
        except Exception:  # cut by a power failure: numpy raises nearly anything
            values = None
        if values is None or values.ndim != 3 or values.dtype != _TYPES[exact]:
            path.unlink(missing_ok=True)
            return None
        return np.asarray(values)

    def write(
        self, token: str, tap: str, values: NDArray[np.floating], exact: bool = False
    ) -> bool:
        """Keep one map; False where it is there already or the budget does not allow it.

        Args:
            token: of the sample.
            tap: its name.
            values: (C, h, w).
            exact: in single precision: metres and cells, which half precision would move.

        Raises:
            ValueError: The map is no (C, h, w), or not finite in half precision.
        """
        with np.errstate(over="ignore"):
            half = np.asarray(values, dtype=_TYPES[exact])
        if half.ndim != 3 or not np.isfinite(half).all():
            raise ValueError(
                f"expected a finite map (C, h, w) for {token}, got {half.shape} with "
                f"{int((~np.isfinite(half)).sum())} values beyond half precision; teachers with "
                "such features cannot be cached"
            )
        path = self.path(token, tap)
        if path.is_file():
            return False
        size = half.nbytes + _SIDE_FILES
        with self._locked_total() as total:
            if total[0] + size > self.budget:
                return False
            total[0] += size
        with io.atomic_write(path, sync=False) as temporary:
            np.save(temporary, half)
        return True

    def count(self, tap: str) -> int:
        """Number of maps of one tap."""
        return sum(1 for _ in self._files(self.folder / tap))

    def bytes(self) -> int:
        """Bytes that the budget counts."""
        with self._locked_total() as total:
            return total[0]

    def _files(self, top: Path) -> Iterator[Path]:
        return (path for path in top.rglob("*.npy") if path.name[0] != ".")

    @contextlib.contextmanager
    def _locked_total(self) -> Iterator[list[int]]:
        """The bytes in use, to be changed in place; counted anew where no count is kept."""
        descriptor = os.open(self.folder / ".bytes", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            text = os.read(descriptor, 32).decode()
            if text.isdigit():
                total = [int(text)]
            else:
                total = [sum(path.stat().st_size for path in self._files(self.folder))]
            yield total
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(total[0]).encode())
        finally:
            os.close(descriptor)
