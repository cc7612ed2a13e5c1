# SPDX-License-Identifier: Apache-2.0
"""Whatever breaks in a data set: a sample, or one error of ours; never a traceback of a library."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidistill.converters.infos import load_infos
from lidistill.datasets.loading import (
    LoadImages,
    LoadPointLabels,
    LoadPoints,
    LoadSuperpixels,
    PairPoints,
)
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.io import DataError, dump_pickle, load_pickle

STEPS = [LoadPoints(), LoadPointLabels(), LoadImages(), LoadSuperpixels(), PairPoints()]
FILES = (
    "infos.pkl",
    "samples/LIDAR_TOP/cloud1.pcd.bin",
    "samples/CAM_FRONT/CAM_FRONT_1.jpg",
    "lidarseg/v1.0-mini/labels1.bin",
    "slic/sd_CAM_BACK_1.png",
    "slic/manifest.json",
)
KINDS = ("cut", "flip", "empty", "folder", "noise")
WRONG = (None, "x", "", 0, -1, 7, 1.5, 10**400, float("nan"), True, [], {}, ["x"], "../x", b"x")
MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def load(root: Path) -> Any:
    return ImageLidarPairs(root / "infos.pkl", root, STEPS, superpixels_dir=root / "slic")[1]


@given(st.data())
@MANY
def test_damaged_files(mini: Path, data: st.DataObject) -> None:
    path = mini / data.draw(st.sampled_from(FILES))
    whole, kind = path.read_bytes(), data.draw(st.sampled_from(KINDS))
    content = bytearray(whole)
    if kind == "cut":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    elif kind == "flip":
        for _ in range(data.draw(st.integers(1, 5))):
            place = data.draw(st.integers(0, len(content) - 1))
            content[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "noise":
        content[:] = data.draw(st.binary(max_size=200))
    else:
        content.clear()
    path.write_bytes(bytes(content))
    if kind == "folder":
        path.unlink()
        path.mkdir()
    try:
        with contextlib.suppress(DataError):
            load(mini)
    finally:
        if kind == "folder":
            path.rmdir()
        path.write_bytes(whole)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested dictionaries and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in items:
        found.append((*path, key))
        if isinstance(item, dict | list) and len(path) < 5:
            found += places(item, (*path, key))
    return found


@given(st.data())
@MANY
def test_info_files_with_values_of_another_type(mini: Path, data: st.DataObject) -> None:
    before = load_pickle(mini / "infos.pkl")
    content = copy.deepcopy(before)
    place = data.draw(st.sampled_from(places(content)))
    value = data.draw(st.sampled_from(WRONG))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    dump_pickle(mini / "infos.pkl", content)
    try:
        with contextlib.suppress(DataError):
            load_infos(mini / "infos.pkl")
            load(mini)
    finally:  # or a fault found is followed by one of the test's own
        dump_pickle(mini / "infos.pkl", before)


def test_a_version_longer_than_a_file_name(mini: Path) -> None:
    content = load_pickle(mini / "infos.pkl")
    content["metainfo"]["version"] = 10**400
    dump_pickle(mini / "infos.pkl", content)
    with pytest.raises(DataError, match="No LiDAR segmentation labels"):
        load(mini)


def test_the_undamaged_copy_still_loads(mini: Path) -> None:
    assert len(load(mini).need_pairs()) > 100
