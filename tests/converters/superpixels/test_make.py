# SPDX-License-Identifier: Apache-2.0
"""The superpixel store: content, manifest, resume after kill -9, refusals."""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lidistill.converters.superpixels import cli as superpixels_cli
from lidistill.converters.superpixels.make import make_superpixels
from lidistill.converters.superpixels.plan import plan_superpixels
from lidistill.converters.superpixels.slic import SlicParameters, slic_labels
from lidistill.converters.superpixels.store import SuperpixelStore, find_jobs
from lidistill.io import (
    DataError,
    load_pickle,
    read_image,
    read_label_map,
    read_manifest,
    write_json,
)
from tests.datasets.mini import image_of, make_mini

SETTING = {"segments": 20}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("superpixels")
    make_mini(folder, superpixels=False, suffix=".png")
    return folder


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "slic"
    assert make_superpixels(root / "infos.pkl", root, folder, **SETTING) == 6
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit_infos(root: Path, target: Path, keep: slice) -> Path:
    infos = load_pickle(root / "infos.pkl")
    infos["data_list"] = infos["data_list"][keep]
    target.write_bytes(pickle.dumps(infos))
    return target


def test_files_hold_slic_of_their_images(root, store):
    from skimage.segmentation import slic

    for job in find_jobs([root / "infos.pkl"], root):
        image = read_image(job.image)
        expected = slic(image, n_segments=20, compactness=6.0, sigma=3.0, start_label=0)
        np.testing.assert_array_equal(read_label_map(store / job.name), expected)


def test_labels_count_from_zero_without_gaps():
    labels = slic_labels(image_of(np.random.default_rng(1)), SlicParameters(segments=30))
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert labels.dtype == np.int32


def test_a_smaller_scale_gives_about_the_same_regions():
    image = image_of(np.random.default_rng(2)).repeat(4, 0).repeat(4, 1)
    full = slic_labels(image, SlicParameters(segments=40))
    half = slic_labels(image, SlicParameters(segments=40, scale=0.5))
    assert half.shape == full.shape == (240, 400)
    overlap = np.zeros((half.max() + 1, full.max() + 1))
    np.add.at(overlap, (half, full), 1)
    assert overlap.max(axis=1).sum() > 0.7 * half.size
    # enlarging keeps whole pixels: four by four patches of the small label map
    blocks = half.reshape(120, 2, 200, 2)
    assert (blocks == blocks[:, :1, :, :1]).all()


def test_manifest_says_how_it_was_made(root, store):
    manifest = read_manifest(store)
    assert manifest["count"] == 6
    assert manifest["parameters"]["segments"] == 20
    assert manifest["parameters"]["scikit_image"]
    assert manifest["source"].startswith("infos.pkl sha256:")
    reader = SuperpixelStore(store, {"segments": 20, "scale": 1.0})
    assert len(reader) == 6
    assert reader.path({"superpixels_path": "a.png"}) == store / "a.png"
    assert reader.path({"sample_data_token": "b"}) == store / "b.png"


def test_processes_and_a_second_run_change_nothing(root, store, tmp_path):
    other = tmp_path / "other"
    assert make_superpixels(root / "infos.pkl", root, other, jobs=2, **SETTING) == 6
    assert content(other) == content(store)
    times = {path: path.stat().st_mtime_ns for path in other.glob("*.png")}
    assert make_superpixels(root / "infos.pkl", root, other, **SETTING) == 0
    assert {path: path.stat().st_mtime_ns for path in other.glob("*.png")} == times
    assert content(other) == content(store)


def test_two_info_files_share_a_store(root, store, tmp_path):
    first = edit_infos(root, tmp_path / "train.pkl", slice(0, 1))
    second = edit_infos(root, tmp_path / "val.pkl", slice(0, 3))
    assert make_superpixels(first, root, tmp_path / "slic", **SETTING) == 2
    assert make_superpixels([first, second], root, tmp_path / "slic", **SETTING) == 4
    manifest = read_manifest(tmp_path / "slic")
    assert manifest["count"] == 6
    assert [source.split()[0] for source in manifest["source"].split("; ")] == [
        "train.pkl",
        "val.pkl",
    ]


def test_other_parameters_do_not_mix(root, store):
    before = content(store)
    with pytest.raises(DataError, match=r"(?s)'segments': 20.*'segments': 21.*--out"):
        make_superpixels(root / "infos.pkl", root, store, segments=21)
    assert content(store) == before


def test_a_folder_of_other_pictures_is_left_alone(root, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no superpixel store"):
        make_superpixels(root / "infos.pkl", root, tmp_path)
    assert content(tmp_path) == {"photo.png": b"x"}


def test_damaged_image_is_named_and_the_store_stays_unfinished(tmp_path):
    make_mini(tmp_path, superpixels=False)
    image = tmp_path / "samples/CAM_BACK/CAM_BACK_1.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    arguments = (tmp_path / "infos.pkl", tmp_path, tmp_path / "slic")
    with pytest.raises(DataError, match=r"(?s)CAM_BACK_1\.jpg.*token1"):
        make_superpixels(*arguments, **SETTING)
    with pytest.raises(DataError, match=r"(?s)unfinished.*run the command"):
        SuperpixelStore(tmp_path / "slic")
    image.write_bytes(whole)
    assert make_superpixels(*arguments, **SETTING) == 3
    assert len(SuperpixelStore(tmp_path / "slic")) == 6


def test_plan_counts_and_writes_nothing(root, store, tmp_path):
    plan = plan_superpixels(root / "infos.pkl", root, tmp_path / "no", SlicParameters(20))
    assert (plan.images, plan.done) == (6, 0)
    assert plan.seconds_each > 0
    assert plan.bytes_each > 0
    assert plan.hours(2) == pytest.approx(plan.hours(1) / 2)
    assert not (tmp_path / "no").exists()
    plan = plan_superpixels(root / "infos.pkl", root, store, SlicParameters(20))
    assert (plan.images, plan.done, plan.hours(1), plan.gigabytes()) == (6, 6, 0.0, 0.0)


@pytest.mark.parametrize(
    "bad", [{"segments": 0}, {"compactness": 0.0}, {"sigma": -1.0}, {"scale": 0.0}, {"scale": 2.0}]
)
def test_wrong_parameters_are_named(bad):
    with pytest.raises(ValueError, match="expected"):
        SlicParameters(**bad)


def run_verb(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    superpixels_cli.add_arguments(parser)
    return superpixels_cli.run(parser.parse_args(list(arguments)))


def test_verb(root, store, tmp_path, capsys):
    paths = (str(root / "infos.pkl"), "--data-root", str(root), "--out", str(tmp_path / "s"))
    assert run_verb(*paths, "--segments", "20", "--jobs", "1", "--dry-run") == 0
    assert "6 images, 0 of them done" in capsys.readouterr().out
    assert not (tmp_path / "s").exists()
    assert run_verb(*paths, "--segments", "20", "--jobs", "1") == 0
    assert content(tmp_path / "s") == content(store)


SLOW_RUN = """
import sys, time
from lidistill.converters.superpixels import make, source
whole = source.slic_labels
def slow(*arguments):
    time.sleep(0.3)
    return whole(*arguments)
source.slic_labels = slow
make.make_superpixels(sys.argv[1], sys.argv[2], sys.argv[3], segments=20)
"""


def test_kill_and_run_again_ends_with_the_same_store(root, store, tmp_path):
    """SIGKILL in the middle, then the same command: byte for byte the undisturbed store."""
    out = tmp_path / "slic"
    command = [sys.executable, "-c", SLOW_RUN, str(root / "infos.pkl"), str(root), str(out)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(out.glob("sd_*.png"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 2 <= len(list(out.glob("sd_*.png"))) < 6
    with pytest.raises(DataError, match="unfinished"):
        SuperpixelStore(out)
    make_superpixels(root / "infos.pkl", root, out, **SETTING)
    assert content(out) == content(store)


def test_a_finished_store_on_a_read_only_disk_passes(root, tmp_path, monkeypatch):
    make_superpixels(root / "infos.pkl", root, tmp_path / "slic", **SETTING)

    def fails(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("lidistill.io.write_manifest", fails)
    assert make_superpixels(root / "infos.pkl", root, tmp_path / "slic", **SETTING) == 0
    (tmp_path / "slic/sd_CAM_BACK_1.png").unlink()
    with pytest.raises(OSError, match="Read-only"):
        make_superpixels(root / "infos.pkl", root, tmp_path / "slic", **SETTING)


def test_images_that_were_written_anew_are_not_those_of_the_store(tmp_path):
    make_mini(tmp_path / "data", superpixels=False, suffix=".png")
    words = (tmp_path / "data/infos.pkl", tmp_path / "data", tmp_path / "slic")
    make_superpixels(*words, **SETTING)
    images = sorted((tmp_path / "data/samples/CAM_BACK").glob("*.png"))
    for path in images:
        path.touch()  # copied: younger, the same
    assert make_superpixels(*words, **SETTING) == 0
    other = (tmp_path / "data/samples/CAM_FRONT/CAM_FRONT_0.png").read_bytes()
    for path in images:
        path.write_bytes(other)
    with pytest.raises(DataError, match="The regions in this store are not those"):
        make_superpixels(*words, **SETTING)


def changed(root: Path, target: Path, image: dict[str, object]) -> Path:
    infos = load_pickle(root / "infos.pkl")
    infos["data_list"][1]["images"]["CAM_BACK"].update(image)
    target.write_bytes(pickle.dumps(infos))
    return target


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"superpixels_path": "../../evil.png"}, "superpixel file"),
        ({"superpixels_path": "/evil.png"}, "superpixel file"),
        ({"superpixels_path": None, "sample_data_token": "../x"}, "superpixel file"),
        ({"img_path": "../../../etc/passwd"}, "file of CAM_BACK"),
        ({"img_path": "/etc/passwd"}, "file of CAM_BACK"),
        ({"superpixels_path": "sd_CAM_BACK_0.png"}, "Two images have the same"),
        ({"height": 61}, "61 x 100 pixels as in the info file"),
        ({"height": 0}, r"images\.CAM_BACK\.height"),
        ({"width": None}, r"images\.CAM_BACK\.width"),
        ({"img_path": 7}, r"images\.CAM_BACK\.img_path"),
        ({"cam2img": [[1]]}, r"images\.CAM_BACK\.cam2img"),
    ],
)
def test_info_files_that_lead_out_of_the_store_or_lie(root, tmp_path, image, words):
    infos = changed(root, tmp_path / "infos.pkl", image)
    out = tmp_path / "deep" / "deeper" / "slic"
    with pytest.raises(DataError, match=words):
        make_superpixels(infos, root, out, **SETTING)
    assert not list(tmp_path.rglob("evil*"))


def test_data_without_cameras_are_told_so(root, tmp_path):
    infos = load_pickle(root / "infos.pkl")
    for frame in infos["data_list"]:
        frame["images"] = {}
    (tmp_path / "infos.pkl").write_bytes(pickle.dumps(infos))
    with pytest.raises(DataError, match=r"(?s)nothing to segment.*infos\.pkl.*data with cameras"):
        make_superpixels(tmp_path / "infos.pkl", root, tmp_path / "slic", **SETTING)


def test_a_damaged_manifest_is_named(root, store, tmp_path):
    (tmp_path / "slic").mkdir()
    manifest = read_manifest(store)
    for change in ({"source": None}, {"parameters": []}, {"count": -1}, {"count": "6"}):
        write_json(tmp_path / "slic/manifest.json", manifest | change)
        with pytest.raises(DataError, match=r"(?s)manifest\.json.*delete this folder"):
            make_superpixels(root / "infos.pkl", root, tmp_path / "slic", **SETTING)
