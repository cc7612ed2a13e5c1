# SPDX-License-Identifier: Apache-2.0
"""What a trial showed: a named error, the same result, a change nobody can see, or a fault.

The rule for "undetectable by nature". A changed result without an error passes only if

1. the format lists the mutation as one that may give another valid file, with the reason
   (``Format.nature``): a flipped bit of a raw float, a removed line of a list without a count; a
   format with check sums lists none; and
2. every difference is plausible: a finite number below the format's limit in place of a number, a
   printable text in place of a text, an array of the same kind and width with finite values; lists,
   keys, nulls and lengths differ only where the format says so (``Format.free``).

All else is a silent change of what can be detected.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

NAMED, SAME, NATURE = "named error", "same result", "undetectable"
TRACEBACK, UNNAMED, SILENT = "traceback", "error without file", "silent change"
HANG, CRASH = "hang", "crash"
OUTCOMES = (NAMED, SAME, NATURE, TRACEBACK, UNNAMED, SILENT, HANG, CRASH)
FAULTS = OUTCOMES[3:]
MAX_MESSAGE = 4000
USER_ERRORS = (ValueError, OSError, ImportError)  # those of lidistill.cli


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, tensors as arrays, paths as texts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return str(value) if isinstance(value, Path) else value


Difference = tuple[str, Any, Any]


def differences(old: Any, new: Any, place: str = "") -> Iterator[Difference]:
    """Place, old and new of each difference; a container of other keys or length is one."""
    if isinstance(old, dict) and isinstance(new, dict):
        if set(old) != set(new):
            yield f"{place}.*", sorted(set(old) - set(new)), sorted(set(new) - set(old))
        for key in old.keys() & new.keys():
            yield from differences(old[key], new[key], f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{place}[]", len(old), len(new)
        for at, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from differences(one, other, f"{place}[{at}]")
    elif not _equal(old, new):
        yield place, old, new


def _equal(old: Any, new: Any) -> bool:
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        return old.dtype == new.dtype and np.array_equal(old, new, equal_nan=old.dtype.kind == "f")
    if type(old) is not type(new):
        return False
    return bool(old == new) or (old != old and new != new)


def implausible(difference: Difference, limit: float, free: Mapping[str, str]) -> bool:
    """Whether a difference is one that a reader could have seen."""
    place, old, new = difference
    for pattern in free:
        renamed = pattern.startswith("=")  # as many keys as before
        if re.search(pattern.removeprefix("="), place) and not (renamed and len(old) != len(new)):
            return False
    if place.endswith(("*", "[]")):
        return True
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        fine = old.dtype == new.dtype and old.shape == new.shape
        return not fine or (new.size > 0 and not _near(new, limit))
    if _number(old) and _number(new):
        return not _near(np.float64(new), limit)
    if isinstance(old, str) and isinstance(new, str):
        return not new.isprintable()
    return True


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _near(values: Any, limit: float) -> bool:
    return bool(np.isfinite(values).all() and np.abs(values).max() <= limit)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Outcome of a trial with its reason."""

    outcome: str
    why: str = ""


def judge_error(error: BaseException, damaged: Path, root: Path) -> Verdict:
    """Whether an error is one that the command line prints, and names a file."""
    words = f"{type(error).__name__}: {error}"
    if not isinstance(error, USER_ERRORS) or isinstance(error, UnicodeError):
        return Verdict(TRACEBACK, words[:300])
    text = str(error)
    if len(text) > MAX_MESSAGE:
        return Verdict(UNNAMED, f"a message of {len(text)} letters")
    # where two files do not fit together, the other one may be named
    named = damaged.name in text or str(root) in text
    return Verdict(NAMED if named else UNNAMED, words[:300])


def judge_result(old: Any, new: Any, mutation: str, form: Any) -> Verdict:
    """Compare what the damaged file gave with what the whole one gave."""
    found = list(differences(old, new))
    if not found:
        return Verdict(SAME)
    worse = [one for one in found if implausible(one, form.limit, form.free)]
    reason = form.nature.get(mutation)
    if reason is not None and not worse:
        return Verdict(NATURE, reason)
    place, was, now = (worse or found)[0]
    return Verdict(SILENT, f"{place}: {str(was)[:80]} -> {str(now)[:80]}")
