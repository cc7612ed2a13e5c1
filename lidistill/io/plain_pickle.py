# SPDX-License-Identifier: Apache-2.0
"""Pickles of plain data: written atomically, read without running code.

A pickle is a program: it names functions to call and objects to change. Here a name is looked up in
a short list of constructors that build plain values only, cannot be changed by the pickle, and
check what they get. numpy's own constructors are not among them: given a forged type or state, they
follow pointers of the file's maker. Arrays are built from their bytes instead.
"""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lidistill.io.atomic import atomic_write
from lidistill.io.errors import DataError, PathLike, missing_file

_DTYPE = re.compile(r"[<>|=]?([?bBhHiIlLqQefdgFDG]|[biufc]\d{1,2}|[SU]\d{1,6})")
SPARE_BYTES = 4 << 30


def dump_pickle(path: PathLike, obj: object) -> None:
    """Writes an object as a pickle (protocol 4), atomically."""
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        pickle.dump(obj, stream, protocol=4)


def load_pickle(path: PathLike, fix: str | None = None) -> Any:
    """Reads a pickle that holds plain data: Python's basic types, numpy arrays of numbers or text.

    A pickle can name any function to be called while it loads. Here a name outside a short list is
    refused before it is even imported.

    Args:
        path: The file.
        fix: What to do when it is missing or damaged, for the error message.

    Returns:
        The object.

    Raises:
        DataError: The file is missing, damaged, or names anything else than plain data.
    """
    source = Path(path)
    if not source.is_file():
        raise missing_file(source, None, fix)
    try:
        with source.open("rb") as stream, _bounded_memory(source.stat().st_size):
            reader = _PlainUnpickler(stream, source)
            content = reader.load()
            return _real(content, {}) if reader.made else content
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(
            f"Expected a pickle of plain data, but it does not load: {error!r:.300}.",
            path=path,
            fix=fix or "make the file again with the command that wrote it.",
        ) from error


class _Maker:
    """A constructor that a pickle can call, and not change: BUILD finds nothing to set."""

    __slots__ = ("_make",)
    _make: Callable[..., Any]

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"wants to set {name} of a function")

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)


class _Dtype:
    """Stands for a numpy dtype while the pickle loads; takes a byte order, nothing else."""

    __slots__ = ("value",)

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"{code!r:.40} is no dtype of plain numbers or text")
        self.value = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subarray, names, fields, size, alignment, flags[, metadata])
        if not isinstance(state, tuple) or len(state) not in (8, 9):
            raise pickle.UnpicklingError("no state of a plain dtype")
        plain = (
            state[2:5] == (None, None, None) and state[7] in (0, 8) and state[8:] in ((), (None,))
        )
        sized = state[5] in (-1, self.value.itemsize)
        if state[0] not in (3, 4) or state[1] not in ("<", ">", "|", "=") or not (plain and sized):
            raise pickle.UnpicklingError("no state of a plain dtype")
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """Stands for a numpy array while the pickle loads; ``value`` is filled by its state."""

    __slots__ = ("value",)

    def __init__(self, value: NDArray[Any] | None = None) -> None:
        self.value = value

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("no state of a plain array")
        _, shape, dtype, columns_first, data = state
        self.value = _array(data, dtype, shape, "F" if columns_first else "C")


def _array(data: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    if isinstance(data, str):  # protocols 0 to 2 of Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array's bytes or dtype are not plain")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not all(type(size) is int and size >= 0 for size in sizes) or order not in ("C", "F"):
        raise pickle.UnpicklingError(f"{sizes!r:.60} is no shape of an array")
    values = np.frombuffer(data, dtype=dtype.value) if len(data) else np.zeros(0, dtype.value)
    return np.asarray(values.reshape(sizes, order=order)).copy(order=order)


def _scalar(dtype: object, data: object = b"") -> Any:
    return _array(data, dtype, (1,), "C")[0]


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    if kind != "numpy.ndarray":
        raise pickle.UnpicklingError("no plain array")
    return _Array()


def _bytes(*args: Any) -> bytes:
    """``bytes()`` of protocols 0 to 2, which store an empty one so."""
    if args:
        raise pickle.UnpicklingError("bytes of something are not plain data")
    return b""


def _bytearray(content: object = b"", encoding: object = "latin-1") -> bytearray:
    if isinstance(content, str) and encoding in ("latin-1", "latin1"):
        return bytearray(content, "latin-1")
    if isinstance(content, bytes):
        return bytearray(content)
    raise pickle.UnpicklingError("a bytearray of something is not plain data")


def _set(items: object = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise pickle.UnpicklingError("a set of something is not plain data")
    return set(items)


def _complex(real: object, imaginary: object) -> complex:
    if not isinstance(real, float) or not isinstance(imaginary, float):
        raise pickle.UnpicklingError("a complex number of something is not plain data")
    return complex(real, imaginary)


def _ordered(items: object = ()) -> dict[Any, Any]:
    if not isinstance(items, list | tuple):
        raise pickle.UnpicklingError("a dictionary of something is not plain data")
    return {key: value for key, value in items}


def _latin1_bytes(text: object, encoding: object = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, by which old pickle protocols store bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r:.40} are not plain data")
    return text.encode("latin1")


_BUILTINS: dict[str, Callable[..., Any]] = {
    "set": _set,
    "frozenset": lambda items=(): frozenset(_set(items)),
    "bytes": _bytes,
    "bytearray": _bytearray,
    "complex": _complex,
}
_MAKERS = {
    **{(m, k): _Maker(v) for m in ("builtins", "__builtin__") for k, v in _BUILTINS.items()},
    ("_codecs", "encode"): _Maker(_latin1_bytes),
    ("collections", "OrderedDict"): _Maker(_ordered),
    ("numpy", "dtype"): _Maker(_Dtype),
    # numpy 2 renamed numpy.core to numpy._core: either file is read with either numpy
    **{
        (f"numpy.{core}.{module}", name): _Maker(make)
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", lambda *args: _Array(_array(*args))),
        )
    },
}


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler that resolves only the names of plain data."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__(stream)
        self.path = path
        self.made = False

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return "numpy.ndarray"
        maker = _MAKERS.get((module, name))
        if maker is not None:
            self.made = True
            return maker
        raise DataError(
            f"Refused: this pickle wants to load {module[:80]}.{name[:80]}, which is not plain "
            "data; loading it could run any code.",
            path=self.path,
            fix="delete it unless you know where it is from, and make it again with the command "
            "that wrote it (info files: lidistill create_data); a script of your own writes "
            "dictionaries, lists, texts, numbers and numpy's arrays, no objects.",
        )


def _real(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """The value with arrays in place of what stood for them; containers are changed in place.

    Args:
        value: Anything that was loaded.
        seen: By identity, what a container became; it holds the old one, too, lest another takes
            over its identity.
    """
    if isinstance(value, _Array | _Dtype):
        if isinstance(value, _Array) and value.value is None:
            raise pickle.UnpicklingError("an array without state")
        return value.value
    if isinstance(value, _Maker):
        raise pickle.UnpicklingError("a function is not plain data")
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in seen:
        return seen[id(value)][1]
    seen[id(value)] = value, value  # before its items: a list may hold itself
    if isinstance(value, dict):
        for key in value:
            value[key] = _real(value[key], seen)
    elif isinstance(value, list):
        value[:] = [_real(item, seen) for item in value]
    else:
        seen[id(value)] = value, tuple(_real(item, seen) for item in value)
    return seen[id(value)][1]


@contextlib.contextmanager
def _bounded_memory(size: int) -> Iterator[None]:
    """Lets a file take some multiple of its size: a few bytes can ask for any number of them.

    The memo's index is four bytes of the file, and the memo grows to it. On Linux only.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError, ValueError):
        yield
        return
    limit = pages * resource.getpagesize() + SPARE_BYTES + 64 * size
    allowed = [bound for bound in (limit, *before) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(allowed), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
