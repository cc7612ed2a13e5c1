# SPDX-License-Identifier: Apache-2.0
"""Feature maps on disk: one small file per image and tap, in half precision, within a budget."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from lidistill import io

TOOL = "lidistill cache_teacher"
GIB = 2**30
_SIDE_FILES = 256  # what .npy spends on its header, at most
_TYPES: dict[bool, type[np.floating]] = {False: np.float16, True: np.float32}


class FeatureStore:
    """Maps (C, h, w) float16 by token and tap.

    Any number of processes, on any number of machines that share the folder, may read and write at
    once: files are moved into place whole, and the budget is kept in one file under a lock.

    Args:
        folder: The store; made when missing.
        parameters: Everything that changes the maps: the teacher's fingerprint, input size, ...
        budget_gib: Gibibytes on disk, beyond which nothing more is kept.
        create: False refuses a folder without a store.
        files: What a new store remembers, see :meth:`describe`.

    Raises:
        DataError: The store holds maps of other parameters, or there is none.
    """

    def __init__(
        self,
        folder: str | Path,
        parameters: Mapping[str, Any],
        budget_gib: float = 100.0,
        create: bool = True,
        files: Mapping[str, Sequence[int]] | None = None,
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
            self.describe(0, files=files)

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

    def describe(
        self,
        count: int,
        source: str = "training",
        files: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Write the manifest.

        Args:
            count: of the maps.
            source: what they are of.
            files: see :func:`lidistill.distill.caches.files.glances`; those noted before stay.
        """
        before: dict[str, Any] = {}
        if (self.folder / "manifest.json").is_file():
            before = io.read_manifest(self.folder).get("files", {})
        more = {"files": {**before, **(files or {})}}
        io.write_manifest(self.folder, TOOL, self.parameters, count, source, more)

    def path(self, token: str, tap: str) -> Path:
        """File of one map."""
        name = quote(token, safe="")
        # two last characters spread the files; dots would be a way out of the folder
        return self.folder / tap / name[-2:].replace("..", "__") / f"{name}.npy"

    def has(self, token: str, taps: Sequence[str]) -> bool:
        """Whether all maps of an image are there."""
        return all(self.path(token, tap).is_file() for tap in taps)

    def read(self, token: str, tap: str, exact: bool = False) -> NDArray[np.floating] | None:
        """One map (C, h, w), or None; a damaged file is removed and counts as missing.

        Raises:
            DataError: The file cannot be read, for a reason that says nothing about its content.
        """
        path = self.path(token, tap)
        try:
            with path.open("rb") as stream:
                seen, data = os.fstat(stream.fileno()), stream.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise io.DataError(
                f"This map of the teacher cache cannot be read: {error.strerror}.",
                path=path,
                token=token,
                fix="the map may be sound: mend what is said above, then run this again.",
            ) from error
        values = _parse(data, _TYPES[exact])
        if values is None:
            self._remove(path, seen)
        return values

    def _remove(self, path: Path, seen: os.stat_result) -> None:
        """Remove a damaged file and give its bytes back, unless another process was faster."""
        with self._locked_total() as total, contextlib.suppress(FileNotFoundError):
            now = path.stat()
            if (now.st_ino, now.st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns):
                path.unlink()
                total[0] -= now.st_size

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
            half = np.asarray(values, dtype=_TYPES[exact], order="C")
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
        stream = BytesIO()
        np.save(stream, half)
        data = stream.getvalue()
        try:
            with io.atomic_write(path, sync=False) as temporary:
                temporary.write_bytes(data + _checksum(data))
        except BaseException:
            with self._locked_total() as total:
                total[0] -= size
            raise
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
            text = os.read(descriptor, 32)
            if text.isdigit():
                total = [int(text)]
            else:
                total = [sum(path.stat().st_size for path in self._files(self.folder))]
            yield total
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(max(total[0], 0)).encode())
        finally:
            os.close(descriptor)


def _checksum(data: bytes) -> bytes:
    """Four bytes that follow the array in its file; numpy's reader passes over them."""
    return zlib.crc32(data).to_bytes(4, "little")


def _parse(data: bytes, dtype: type[np.floating]) -> NDArray[np.floating] | None:
    """The map (C, h, w) in the bytes of a file; None where they are damaged.

    Only the bytes are judged, so nothing but damage makes it fail. Files of earlier versions end
    without a checksum.
    """
    stream = BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, found = np.lib.format.read_array_header_1_0(stream)
    except Exception:  # numpy evaluates the header: damage raises nearly anything
        return None
    start = stream.tell()
    end = start + math.prod(shape) * np.dtype(dtype).itemsize
    plain = version == (1, 0) and found == dtype and not fortran and len(shape) == 3
    if not plain or len(data) not in (end, end + 4) or min(shape) < 0:
        return None
    if len(data) > end and data[end:] != _checksum(data[:end]):
        return None
    values = np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape).copy()
    return values if np.isfinite(values).all() else None
