# SPDX-License-Identifier: Apache-2.0
"""Damaged data gives one error that names the file, the sample token and the command to run."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from lidistill.converters.superpixels.store import SuperpixelStore
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.datasets.transforms import (
    LoadImages,
    LoadPointLabels,
    LoadPoints,
    LoadSuperpixels,
    PairPoints,
    ResizeImages,
)
from lidistill.io import DataError, load_pickle

LOAD = [LoadPoints(), LoadPointLabels(), LoadImages(), LoadSuperpixels(), PairPoints()]
CLOUD = "samples/LIDAR_TOP/cloud1.pcd.bin"
IMAGE = "samples/CAM_FRONT/CAM_FRONT_1.jpg"
LABELS = "lidarseg/v1.0-mini/labels1.bin"
REGIONS = "slic/sd_CAM_BACK_1.png"


def load(root: Path, pipeline=LOAD, **kwargs):
    kwargs = {"superpixels_dir": root / "slic", **kwargs}
    return ImageLidarPairs(root / "infos.pkl", root, pipeline, **kwargs)[1]


def error_of(root: Path, file: str | None = None, command: str = "lidistill", **kwargs) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **kwargs)
    message = str(caught.value)
    assert "token1" in message
    assert command in message
    if file is not None:
        assert file in message
    return message


def edit_infos(root: Path, change) -> None:
    content = load_pickle(root / "infos.pkl")
    change(content)
    (root / "infos.pkl").write_bytes(pickle.dumps(content))


def test_the_undamaged_copy_loads(mini):
    assert len(load(mini).need_pairs()) > 100


@pytest.mark.parametrize("file", [CLOUD, IMAGE, LABELS, REGIONS])
def test_missing_file(mini, file):
    (mini / file).unlink()
    assert "not found" in error_of(mini, file)


@pytest.mark.parametrize("file", [CLOUD, IMAGE, LABELS, REGIONS])
def test_truncated_file(mini, file):
    path = mini / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1])
    error_of(mini, file)


@pytest.mark.parametrize("file", [CLOUD, IMAGE, REGIONS])
def test_empty_file(mini, file):
    (mini / file).write_bytes(b"")
    error_of(mini, file)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_points(mini, value):
    points = np.fromfile(mini / CLOUD, np.float32).reshape(-1, 5)
    points[7, 1] = value
    points.tofile(mini / CLOUD)
    message = error_of(mini, CLOUD, command="archive")
    assert "1 of 3000" in message
    assert "index 7" in message


def test_no_pairs_in_one_camera_and_in_all(mini):
    points = np.fromfile(mini / CLOUD, np.float32).reshape(-1, 5)
    points[:, 0] = np.abs(points[:, 0])  # nothing behind
    points.tofile(mini / CLOUD)
    assert "CAM_BACK" in error_of(mini, CLOUD)
    keep = [*LOAD[:-1], PairPoints(empty_camera="keep")]
    assert load(mini, keep).need_pairs().counts(2)[1] == 0
    points[:, :3] = [0.0, 0.0, -50.0]
    points.tofile(mini / CLOUD)
    message = error_of(mini, CLOUD, pipeline=keep)
    assert "CAM_FRONT, CAM_BACK" in message


def test_image_of_another_size(mini):
    cv2.imwrite(str(mini / IMAGE), np.zeros((50, 100, 3), np.uint8))
    assert "60 x 100" in error_of(mini, IMAGE)


def test_superpixels_of_another_size(mini):
    cv2.imwrite(str(mini / REGIONS), np.zeros((60, 99), np.uint16))
    assert "60 x 99" in error_of(mini, REGIONS)


def test_superpixels_after_a_resize_say_where_to_put_them(mini):
    steps = [LoadPoints(), LoadImages(), ResizeImages((30, 50)), LoadSuperpixels()]
    assert "before crops and resizes" in error_of(mini, pipeline=steps)


def test_no_superpixel_store_given(mini):
    assert "superpixels_dir" in error_of(mini, superpixels_dir=None)


def test_superpixel_store_made_with_other_parameters(mini):
    with pytest.raises(DataError, match=r"(?s)150.*segments': 20.*slic.*lidistill superpixels"):
        load(mini, superpixels={"segments": 150})
    assert len(SuperpixelStore(mini / "slic", {"segments": 20, "sigma": 3.0})) == 6


def test_superpixel_store_missing_or_unfinished(mini):
    with pytest.raises(DataError, match=r"(?s)No superpixel store.*lidistill superpixels"):
        load(mini, superpixels_dir=mini / "nothing")
    (mini / "slic/manifest.json").unlink()
    with pytest.raises(DataError, match=r"(?s)manifest.*lidistill superpixels"):
        load(mini)


@pytest.mark.parametrize("key", ["lidar_points", "images"])
def test_info_file_without_what_is_needed(mini, key):
    edit_infos(mini, lambda content: content["data_list"][1].pop(key))
    assert "infos.pkl" in error_of(mini, command="lidistill create_data")


@pytest.mark.parametrize("key", ["lidar2cam", "height", "cam2img"])
def test_info_file_without_a_camera_s_field(mini, key):
    edit_infos(mini, lambda content: content["data_list"][1]["images"]["CAM_BACK"].pop(key))
    assert f"images.CAM_BACK.{key}" in error_of(mini, "infos.pkl", "lidistill create_data")


def test_info_file_without_images(mini):
    edit_infos(mini, lambda content: content["data_list"][1].update(images={}))
    error_of(mini, "infos.pkl", "lidistill create_data")


def test_unknown_camera_lists_the_known_ones(mini):
    with pytest.raises(DataError, match="there are: CAM_FRONT, CAM_BACK"):
        load(mini, cameras=["CAM_TOP"])


def test_info_file_of_another_schema(mini):
    for content in ([{"token": "a"}], {"infos": [], "metadata": {}}, {"data_list": []}, 7):
        (mini / "infos.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=r"(?s)schema.*infos\.pkl.*lidistill create_data"):
            load(mini)


def test_info_file_that_tries_to_run_code(mini):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (mini / "ran",))

    (mini / "infos.pkl").write_bytes(pickle.dumps({"metainfo": Evil(), "data_list": []}))
    with pytest.raises(DataError, match=r"(?s)Refused.*infos\.pkl"):
        load(mini)
    assert not (mini / "ran").exists()


def test_info_file_missing(mini):
    (mini / "infos.pkl").unlink()
    with pytest.raises(DataError, match=r"(?s)not found.*infos\.pkl.*lidistill create_data"):
        load(mini)


def test_labels_that_the_info_file_does_not_name(mini):
    edit_infos(mini, lambda content: content["data_list"][1].pop("pts_semantic_mask_path"))
    assert "lidarseg" in error_of(mini)
