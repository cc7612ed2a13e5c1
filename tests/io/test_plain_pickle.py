# SPDX-License-Identifier: Apache-2.0
"""Pickles: plain data passes in every protocol and from either numpy, code does not run."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidistill.io import DataError, dump_pickle, load_pickle


def _plain() -> dict[str, Any]:
    return {
        "none": None,
        "numbers": [1, -(2**70), 2.5, True, 1 + 2j],
        "text": "é",
        "bytes": b"\x00\xff",
        "tuple": (1, ("a",)),
        "sets": [{1, 2}, frozenset({3}), bytearray(b"x")],
        "arrays": [
            np.arange(6, dtype=np.float32).reshape(2, 3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.array(["car", "bus"]),
            np.array([], dtype=np.int64),
            np.array([1, "a", None], dtype=object),
            np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        ],
        "scalars": [np.float64(1.5), np.int32(4), np.bool_(True)],
        "dtype": np.dtype("float32"),
    }


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()
    return type(a) is type(b) and a == b


def test_round_trip(tmp_path: Path) -> None:
    dump_pickle(tmp_path / "a.pkl", _plain())
    assert _same(load_pickle(tmp_path / "a.pkl"), _plain())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(_plain(), protocol=protocol))
    assert _same(load_pickle(path), _plain())


def test_names_of_the_other_numpy(tmp_path: Path) -> None:
    array = np.arange(4.0)
    data = pickle.dumps([array, array[0]], protocol=2)
    path = tmp_path / "a.pkl"
    for core in (b"numpy.core", b"numpy._core"):
        # protocol 2 names a global as a plain line, so the module can be exchanged
        other = data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
        path.write_bytes(other)
        assert _same(load_pickle(path), [array, array[0]])


class _Call:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (os.system, ("touch {}",), "system"),
        (builtins.eval, ("open('{}', 'w')",), "eval"),
        (builtins.getattr, (os, "system"), "getattr"),
        (subprocess.Popen, (["touch", "{}"],), "Popen"),
        (np.load, ("{}",), "load"),
        (builtins.__import__, ("os",), "__import__"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_before_it_runs(
    tmp_path: Path, function: Any, args: tuple, name: str, protocol: int
) -> None:
    trace = tmp_path / "ran"
    filled = tuple(arg.format(trace) if isinstance(arg, str) else arg for arg in args)
    filled = tuple(
        [a.format(trace) for a in arg] if isinstance(arg, list) else arg for arg in filled
    )
    if function is builtins.getattr:
        filled = ("os", "system")
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"data_list": [_Call(function, *filled)]}, protocol=protocol))
    with pytest.raises(DataError, match=r"Refused.*" + name) as caught:
        load_pickle(path)
    assert "evil.pkl" in str(caught.value)
    assert not trace.exists()


def test_bytes_by_a_foreign_codec_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(DataError, match="rot13"):
        load_pickle(path)


def test_missing_and_cut_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    with pytest.raises(DataError, match=r"(?s)not found.*a\.pkl.*make it"):
        load_pickle(path, fix="make it")
    data = pickle.dumps(_plain(), protocol=4)
    for size in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match="does not load"):
            load_pickle(path)
