# SPDX-License-Identifier: Apache-2.0
"""Pickles: plain data passes in every protocol and from either numpy, code does not run."""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import pickletools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
            np.arange(6, dtype=">f4").reshape(2, 3),
            np.array(True),
            np.zeros((0, 3), dtype=np.complex64),
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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a", None], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.dtype("O"),
        np.dtype("M8[ns]"),
    ],
    ids=str,
)
def test_arrays_of_more_than_numbers_are_refused(tmp_path: Path, protocol: int, value: Any) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([value], protocol=protocol))
    with pytest.raises(DataError, match=r"(?s)plain dtype|no dtype of plain.*a\.pkl"):
        load_pickle(path)


class _Forged:
    """A dtype whose state says that its raw bytes are pointers."""

    def __reduce__(self) -> Any:
        names, field = ("f",), {"f": (np.dtype("O"), 0)}
        return np.dtype, ("V8", False, True), (3, "|", None, names, field, 8, 1, 0)


def test_a_forged_dtype_does_not_follow_pointers(tmp_path: Path) -> None:
    """As found in use: an object field with flags 0 over raw bytes, read by ``str``."""
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([_Forged(), b"A" * 8], protocol=4))
    with pytest.raises(DataError, match="does not load"):
        load_pickle(path)
    for state in ((3, "|", None, ("f",), {}, 8, 1, 0), (3, "|", None, None, None, 8, 1, 27), 7):
        data = pickle.dumps(state, protocol=2)[2:-1]
        path.write_bytes(b"cnumpy\ndtype\n(Vi8\nI00\nI01\ntR" + data + b"b.")
        with pytest.raises(DataError, match="no state of a plain dtype"):
            load_pickle(path)


@pytest.mark.parametrize(
    "program",
    [
        b"c_codecs\nencode\n(NS'x'\nd\x86b.",  # BUILD with slots: set an attribute of a function
        b"cbuiltins\nset\nI99999999999\n\x85R.",
        b"cbuiltins\nbytearray\nI99999999999\n\x85R.",
        b"cbuiltins\nbytes\nI99999999999\n\x85R.",
        b"cbuiltins\nstr\n.",
        b"cbuiltins\nset\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR.",
        b"r\xff\xff\xff\xff.",
        b"Nr\xff\xff\xff\xff.",
        b"Np9999999999\n.",
        b"cbuiltins\nset\n)R0" + b"]" * 5000 + b"a" * 4999 + b".",
    ],
)
def test_hostile_programs(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(program)
    with pytest.raises(DataError, match=r"a\.pkl"):
        load_pickle(path)


OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
NAMES = [b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cbuiltins\nset\n"]
NAMES += [b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\nscalar\n"]
NAMES += [b"cnumpy.core.numeric\n_frombuffer\n", b"ccollections\nOrderedDict\n"]
VALUES = [
    b"I3\n",
    b"Vi8\n",
    b"VO\n",
    b"V|\n",
    b"N",
    b"\x88",
    b"(t",
    b"}",
    b"]",
    b"K\x00",
    b"(I0\nt",
]
VALUES += [b"C\x08AAAAAAAA", b"J\xff\xff\xff\xff", b"G?\xf0\x00\x00\x00\x00\x00\x00"]


@given(
    st.lists(
        st.one_of(*(st.sampled_from(group) for group in (OPCODES, NAMES, VALUES))), max_size=40
    )
)
@settings(max_examples=500, deadline=None)
def test_random_programs_end_in_plain_data_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "program.pkl"
    path.write_bytes(b"".join(parts) + b".")
    try:
        value = load_pickle(path)
    except DataError:
        return
    plain = (type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict)
    assert isinstance(value, (*plain, set, frozenset, np.ndarray, np.generic, np.dtype))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_plain_data_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(pickle.dumps(_plain(), protocol=data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(bytes(content))
    with contextlib.suppress(DataError):
        load_pickle(path)


def test_a_folder_in_place_of_a_pickle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got a folder"):
        load_pickle(tmp_path)


def test_missing_and_cut_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    with pytest.raises(DataError, match=r"(?s)not found.*a\.pkl.*make it"):
        load_pickle(path, fix="make it")
    data = pickle.dumps(_plain(), protocol=4)
    for size in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match="does not load"):
            load_pickle(path)
