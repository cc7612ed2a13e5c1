# SPDX-License-Identifier: Apache-2.0
"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from lidistill.io.errors import DataError, PathLike

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_PROBE = 1 << 16  # bytes; below it, a disk counts as full


@contextlib.contextmanager
def atomic_write(path: PathLike, sync: bool = True) -> Iterator[Path]:
    """Gives a temporary path beside `path`, and moves it there when the block ends well.

    The reader of `path` sees the old file or the new one, never a part. The temporary file keeps
    the suffix (``.a.tmp.png`` for ``a.png``); when the block raises it is removed; when the process
    is killed it stays, and the next write of the same file takes it over. Two processes that write
    one file at once do not disturb each other: the last to finish wins.

    Args:
        path: The file to write; its folder is made when missing.
        sync: Also flush to the disk, so that a power cut leaves no empty file.

    Yields:
        The temporary path to write to.

    Raises:
        DataError: There is no room for the file, or it may not be written there.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _claim_temporary(target)
    except OSError as error:
        raise _not_written(target, error.strerror or str(error)) from error
    try:
        yield temporary
        if sync:
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        temporary.replace(target)
    except BaseException as error:
        reason = _no_room(lock, error)
        temporary.unlink(missing_ok=True)
        if reason is not None:
            raise _not_written(target, reason) from error
        if isinstance(error, OSError) and error.filename is None and error.errno is not None:
            error.filename = str(target)
        raise
    finally:
        os.close(lock)


def _no_room(descriptor: int, error: BaseException) -> str | None:
    """Why no more can be written; None where it can, or where it is not the cause.

    The error alone does not tell: torch and numpy have words of their own for it. So a little more
    is written to the same file.
    """
    if not isinstance(error, Exception):
        return None
    for number in _NO_ROOM:  # safetensors' errors carry the system's words, but not the number
        if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
            return os.strerror(number)
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
        if os.write(descriptor, bytes(_PROBE)) < _PROBE:
            return os.strerror(errno.ENOSPC)
        os.fsync(descriptor)
    except OSError as refused:
        return refused.strerror
    return None


def _not_written(target: Path, reason: str) -> DataError:
    return DataError(
        f"The file could not be written: {reason}; nothing of it is left.",
        path=target,
        fix="make room or name another place to write to, then run the same command again.",
    )


def _claim_temporary(target: Path) -> tuple[Path, int]:
    """Opens and locks a temporary file; a fixed name, so a killed run's leftover is used again."""
    for attempt in range(100):
        extra = "" if attempt == 0 else f".{os.getpid()}-{attempt}"
        temporary = target.with_name(f".{target.stem}.tmp{extra}{target.suffix}")
        lock = os.open(temporary, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between open and lock another writer may have moved this very file into place.
            if os.fstat(lock).st_ino == temporary.stat().st_ino:
                os.ftruncate(lock, 0)
                return temporary, lock
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
    raise DataError(
        "No temporary file could be claimed: a hundred writers at once.",
        path=target,
        fix="stop the other processes that write this file, then run the same command again.",
    )
