# SPDX-License-Identifier: Apache-2.0
"""What can happen to a file: each mutation turns its bytes into others, by a seeded generator.

A mutation returns None where it does not apply to these bytes.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

FOLDER, MISSING = b"<a folder>", b"<missing>"
"""Stand for a folder in the file's place, and for no file."""

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes | None]
WRONG = (None, "words", [], {}, True, [1, "x"], "../../etc/passwd", -7)
ABSURD = (1e30, -1e30, 1e300, -(2**62), 10**400)
NUMBER = re.compile(rb"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.])")


def pick(rng: Rng, items: Any) -> Any:
    return items[int(rng.integers(len(items)))]


# -- any file ------------------------------------------------------------------------------------
def cut(data: bytes, rng: Rng) -> bytes | None:
    return data[: int(rng.integers(len(data)))] if data else None


def flip(data: bytes, rng: Rng) -> bytes | None:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4)) if data else 0):
        out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def zeros(data: bytes, rng: Rng) -> bytes | None:
    """What a power cut leaves: the right length, the end never written."""
    start = int(rng.integers(len(data))) if data else 0
    return data[:start] + bytes(len(data) - start)


def noise(data: bytes, rng: Rng) -> bytes | None:
    return rng.bytes(int(rng.integers(1, 400)))


def tail(data: bytes, rng: Rng) -> bytes | None:
    """More bytes at the end, as of a longer file that was written over."""
    return data + data[-int(rng.integers(1, 40)) :] if data else None


ANY: dict[str, Mutation] = {
    "cut": cut,
    "flipped bits": flip,
    "zeros": zeros,
    "noise": noise,
    "longer": tail,
    "empty": lambda data, rng: b"" if data else None,
    "folder": lambda data, rng: FOLDER,
    "missing": lambda data, rng: MISSING,
}


# -- text ----------------------------------------------------------------------------------------
def _line(change: Callable[[list[bytes], int], list[bytes]]) -> Mutation:
    def mutation(data: bytes, rng: Rng) -> bytes | None:
        lines = data.splitlines(keepends=True)
        return b"".join(change(lines, int(rng.integers(len(lines))))) if lines else None

    return mutation


def _number(values: Callable[[bytes, Rng], bytes]) -> Mutation:
    def mutation(data: bytes, rng: Rng) -> bytes | None:
        found = list(NUMBER.finditer(data))
        if not found:
            return None
        place = pick(rng, found)
        return data[: place.start()] + values(place[0], rng) + data[place.end() :]

    return mutation


def _foreign_letter(data: bytes, rng: Rng) -> bytes:
    place = int(rng.integers(len(data) + 1))
    return data[:place] + b"\xe9" + data[place:]


TEXT: dict[str, Mutation] = {
    "UTF-16": lambda data, rng: data.decode("latin-1").encode("utf-16"),
    "latin-1": _foreign_letter,
    "byte order mark": lambda data, rng: b"\xef\xbb\xbf" + data,
    "CRLF": lambda data, rng: data.replace(b"\n", b"\r\n"),
    "line twice": _line(lambda lines, at: [*lines[:at], lines[at], *lines[at:]]),
    "line gone": _line(lambda lines, at: lines[:at] + lines[at + 1 :]),
    "long line": _line(lambda lines, at: [*lines[:at], b"9" * 200_000 + b"\n", *lines[at:]]),
    "NaN": _number(lambda old, rng: b"nan"),
    "absurd value": _number(lambda old, rng: pick(rng, [b"1e30", b"-1e30", b"inf", b"9" * 400])),
    "wrong type": _number(lambda old, rng: pick(rng, [b"words", b"null", b"[]", b"1,5"])),
    "wrong width": _number(lambda old, rng: pick(rng, [b"", old + b" " + old])),
    "another value": _number(lambda old, rng: b"%d" % rng.integers(4)),
}


# -- records: JSON, pickles, checkpoints ----------------------------------------------------------
def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested dictionaries and lists; of long lists three items."""
    if isinstance(value, dict):
        items = list(value.items())
    else:
        items = [(at, value[at]) for at in sorted({0, len(value) // 2, len(value) - 1}) if value]
    found = []
    for key, item in items:
        found.append((*above, key))
        if isinstance(item, dict | list) and len(above) < 8:
            found += places(item, (*above, key))
    return found


def _tree(fits: Callable[[Any], bool], change: Callable[[Any, Any, Rng], None]) -> Any:
    """Change one place whose value fits."""

    def mutate(content: Any, rng: Rng) -> Any:
        content = copy.deepcopy(content)
        if not isinstance(content, dict | list):
            return None
        found = []
        for place in places(content):
            inner = content
            for key in place[:-1]:
                inner = inner[key]
            if fits(inner[place[-1]]):
                found.append((inner, place[-1]))
        if not found:
            return None
        change(*pick(rng, found), rng)
        return content

    return mutate


def _set(values: tuple[Any, ...]) -> Callable[[Any, Any, Rng], None]:
    def change(inner: Any, key: Any, rng: Rng) -> None:
        inner[key] = copy.deepcopy(pick(rng, values))

    return change


def _remove(inner: Any, key: Any, rng: Rng) -> None:
    del inner[key]


def _twice(inner: Any, key: Any, rng: Rng) -> None:
    if isinstance(inner, list):
        inner.insert(key, copy.deepcopy(inner[key]))
    else:
        inner[f"{key} again"] = copy.deepcopy(inner[key])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _always(value: Any) -> bool:
    return True


RECORDS: dict[str, Any] = {
    "null": _tree(_always, _set((None,))),
    "wrong type": _tree(_always, _set(WRONG)),
    "list for a record": _tree(lambda v: isinstance(v, dict), _set(([], ["x"], "x"))),
    "missing key": _tree(_always, _remove),
    "entry twice": _tree(_always, _twice),
    "NaN": _tree(_is_number, _set((float("nan"), float("inf")))),
    "absurd value": _tree(_is_number, _set(ABSURD)),
    "wrong root": lambda content, rng: pick(rng, [None, [], {}, 7, "x", [content]]),
}


def recoded(load: Callable[[bytes], Any], dump: Callable[[Any], bytes]) -> dict[str, Mutation]:
    """The mutations of records for files of one coding."""

    def one(change: Any) -> Mutation:
        def mutation(data: bytes, rng: Rng) -> bytes | None:
            content = load(data)
            changed = change(content, rng)
            return None if changed is None and content is not None else dump(changed)

        return mutation

    return {name: one(change) for name, change in RECORDS.items()}


def _key_twice(data: bytes, rng: Rng) -> bytes | None:
    found = list(re.finditer(rb'"[^"]*":\s*(?:"[^"]*"|[\d.]+)(?=[,}\s])', data))
    if not found:
        return None
    place = pick(rng, found)
    return data[: place.end()] + b", " + place[0] + data[place.end() :]


JSON: dict[str, Mutation] = {
    **{k: TEXT[k] for k in ("UTF-16", "latin-1", "byte order mark", "CRLF")},
    **recoded(json.loads, lambda content: json.dumps(content).encode()),
    "key twice": _key_twice,
    "nested deeply": lambda data, rng: pick(rng, [b"[", b'{"a":']) * 100_000,
}
PICKLE: dict[str, Mutation] = {
    **recoded(pickle.loads, lambda content: pickle.dumps(content, protocol=4)),
    "another class": lambda data, rng: pickle.dumps(pick(rng, [np.random.default_rng, slice(1)])),
}


# -- arrays of float32 ---------------------------------------------------------------------------
def points(width: int) -> dict[str, Mutation]:
    """A cloud of so many columns."""

    def one(change: Callable[[np.ndarray, Rng], np.ndarray]) -> Mutation:
        return lambda data, rng: change(
            np.frombuffer(data, "<f4").reshape(-1, width).copy(), rng
        ).tobytes()

    def value(values: tuple[float, ...]) -> Mutation:
        def change(cloud: np.ndarray, rng: Rng) -> np.ndarray:
            rows = rng.integers(len(cloud), size=max(1, len(cloud) // 10))
            cloud[rows, int(rng.integers(3))] = pick(rng, values)
            return cloud

        return one(change)

    def npy(cloud: np.ndarray, rng: Rng) -> np.ndarray:
        stream = io.BytesIO()
        np.save(stream, cloud)
        return np.frombuffer(stream.getvalue(), np.uint8)

    return {
        "wrong width": one(
            lambda cloud, rng: pick(rng, [cloud[:, :-1], np.c_[cloud, cloud[:, 0]]])
        ),
        "wrong type": one(lambda cloud, rng: cloud.astype(pick(rng, ["<f8", ">f4"]))),
        "wrong shape": one(lambda cloud, rng: np.ascontiguousarray(cloud.T)),
        "header": one(npy),
        "NaN": value((np.nan, np.inf)),
        "absurd value": value((1e30, -1e30, 1e5)),
    }


def labels(dtype: str) -> dict[str, Mutation]:
    """One integer a point."""

    def one(change: Callable[[np.ndarray, Rng], np.ndarray]) -> Mutation:
        return lambda data, rng: change(np.frombuffer(data, dtype).copy(), rng).tobytes()

    def absurd(values: np.ndarray, rng: Rng) -> np.ndarray:
        values[int(rng.integers(len(values)))] = np.iinfo(dtype).max - 3
        return values

    return {
        "wrong type": one(lambda values, rng: values.astype(pick(rng, ["u2", "u8", "f8"]))),
        "absurd value": one(absurd),
    }


# -- arrays in files of their own, images ---------------------------------------------------------
def _saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npy() -> dict[str, Mutation]:
    def one(change: Callable[[np.ndarray, Rng], np.ndarray]) -> Mutation:
        return lambda data, rng: _saved(change(np.load(io.BytesIO(data)), rng))

    return {
        "wrong type": one(lambda a, rng: a.astype(pick(rng, ["f8", "c16", "U3", "O", ">i2"]))),
        "wrong shape": one(
            lambda a, rng: pick(rng, [a.ravel(), a[None, None], a[..., :-1], a[:0]])
        ),
        "bomb": lambda data, rng: data.replace(b"(", b"(99999999, ", 1),
    }


def image(form: str) -> dict[str, Mutation]:
    from PIL import Image

    def one(change: Callable[[Any, Rng], Any]) -> Mutation:
        def mutation(data: bytes, rng: Rng) -> bytes:
            stream = io.BytesIO()
            change(Image.open(io.BytesIO(data)), rng).save(stream, form)
            return stream.getvalue()

        return mutation

    def other(data: bytes, rng: Rng) -> bytes:
        """16 bits a channel, or no image of this suffix at all."""
        stream = io.BytesIO()
        Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(stream, "PNG")
        return pick(rng, [stream.getvalue(), b"GIF89a", b"<svg></svg>"])

    def bomb(data: bytes, rng: Rng) -> bytes | None:
        at = data.find(b"IHDR") + 4 if form == "PNG" else data.find(b"\xff\xc0") + 5
        return data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :] if at > 5 else None

    return {
        "wrong shape": one(lambda im, rng: im.resize((im.width + 3, im.height - 1))),
        "wrong type": other,
        "bomb": bomb,
    }
