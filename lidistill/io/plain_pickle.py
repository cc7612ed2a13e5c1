# SPDX-License-Identifier: Apache-2.0
"""Pickles of plain data: written atomically, read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from lidistill.io.atomic import atomic_write
from lidistill.io.errors import DataError, PathLike, missing_file


def dump_pickle(path: PathLike, obj: object) -> None:
    """Writes an object as a pickle (protocol 4), atomically."""
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        pickle.dump(obj, stream, protocol=4)


def load_pickle(path: PathLike, fix: str | None = None) -> Any:
    """Reads a pickle that holds plain data: Python's basic types and numpy arrays.

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
        with source.open("rb") as stream:
            return _PlainUnpickler(stream, source).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(
            f"Expected a pickle of plain data, but it does not load: {error!r}.",
            path=path,
            fix=fix or "make the file again with the command that wrote it.",
        ) from error


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, by which old pickle protocols store bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r} are not plain data")
    return text.encode("latin1")


_PLAIN_BUILTINS = {"set", "frozenset", "bytearray", "complex", "list", "dict", "tuple", "int"}
_PLAIN_BUILTINS |= {"float", "str", "bytes", "bool"}
_PLAIN_NUMPY = {
    *(("numpy", name) for name in ("ndarray", "dtype")),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler that resolves only the names of plain data."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__(stream)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in _PLAIN_BUILTINS:
            return super().find_class("builtins", name)
        if (module, name) in (("_codecs", "encode"), ("collections", "OrderedDict")):
            return _latin1_bytes if module == "_codecs" else dict
        if (module, name) in _PLAIN_NUMPY:
            # numpy 2 renamed numpy.core to numpy._core: read either file with either numpy.
            core = "_core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "core"
            parts = ["numpy", core, *module.split(".")[2:]] if "." in module else [module]
            return super().find_class(".".join(parts), name)
        if module == "numpy.dtypes" and name.endswith("DType"):
            return super().find_class(module, name)
        raise DataError(
            f"Refused: this pickle wants to load {module}.{name}, which is not plain data; "
            "loading it could run any code.",
            path=self.path,
            fix="delete it unless you know where it is from, and make it again with the command "
            "that wrote it (info files: lidistill create_data).",
        )
