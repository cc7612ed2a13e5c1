# SPDX-License-Identifier: Apache-2.0
"""`cache_teacher` and `teacher_regions`: fill, resume, share, dry run, refuse; then train."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lidistill import cli
from lidistill.converters.superpixels.store import SuperpixelStore
from lidistill.datasets.loading import PackPairs
from lidistill.datasets.sampler import Draw
from lidistill.distill.teacher import Teacher
from lidistill.engine.configs.caches import note_inputs
from lidistill.engine.configs.read import load_config
from lidistill.io import DataError, read_label_map, read_manifest
from lidistill.registry import DATASETS
from tests.datasets.mini import HEIGHT, WIDTH, make_mini

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "slidr" / "demo_pretrain.py"
SIZE = (48, 80)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make_mini(folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the demo's teacher."""
    torch.manual_seed(0)
    teacher = load_config(CONFIG).model.teacher
    path = tmp_path_factory.mktemp("weights") / "teacher.pth"
    torch.save(Teacher(teacher["model"], taps={"map": ""}).model.state_dict(), path)
    return path


@pytest.fixture
def run(root: Path, weights: Path, capsys):
    """Runs a verb on the small data set; gives its words."""

    def call(verb: str, *more: object) -> str:
        words = [verb, CONFIG, "--infos", root / "infos.pkl", "--data-root", root, *more]
        words += ["--checkpoint", weights, "--workers", 0, "--size", *SIZE]
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return " ".join(captured.out.split())

    return call


def test_cache_is_filled_in_shares_and_read_by_a_training(run, root, weights, tmp_path):
    out = tmp_path / "cache"
    assert "3 frames in this share, 0 in the cache" in run(
        "cache_teacher", "--out", out, "--dry-run"
    )
    assert not out.exists()
    said = run("cache_teacher", "--out", out, "--shard", "2/2")
    assert "1 frames done now" in said
    said = run("cache_teacher", "--out", out)
    assert "3 frames in this share, 1 in the cache 2 frames done now" in said
    assert "0 frames done now" in run("cache_teacher", "--out", out)
    assert read_manifest(out)["count"] == 6
    config = load_config(CONFIG, data_root=str(root))
    dataset = config.train_dataloader.dataset
    steps = [step for step in dataset["pipeline"] if step["type"].__name__ != "LoadImages"]
    for step in steps:
        if "size" in step:
            step["size"] = (40, 64)
    steps[-1]["placeholders"] = True
    dataset.update(ann_file="infos.pkl", superpixels_dir=str(root / "slic"), pipeline=steps)
    frames = DATASETS.build(dataset)
    batch = config.train_dataloader.collate_fn["type"]([frames[Draw(0, 5)], frames[Draw(1, 6)]])
    batch = batch["inputs"]
    assert bool(batch.images.isnan().all())
    assert batch.images.shape == (4, 3, 40, 64)
    config.model.teacher.update(
        checkpoint=str(weights), cache=dict(folder=str(out), size=SIZE, mode="replay")
    )
    from lidistill.registry import MODELS

    losses = MODELS.build(config.model).train()(batch, mode="loss")
    assert torch.isfinite(losses["loss_infonce"])
    losses["loss_infonce"].backward()


def test_what_was_made_of_other_images_or_taps_is_not_gone_on_with(root, weights, tmp_path, capsys):
    """Nothing of a teacher's weights shows how its images are normalised, or what is tapped."""
    begin = [CONFIG, "--infos", root / "infos.pkl", "--data-root", root, "--checkpoint", weights]
    begin += ["--workers", 0, "--size", *SIZE]

    def run(verb, *more):
        code = cli.main([str(word) for word in [verb, *begin, "--out", tmp_path / verb, *more]])
        return code, " ".join(capsys.readouterr().err.split())

    steps = load_config(CONFIG).train_dataloader.dataset["pipeline"]
    place = next(k for k, step in enumerate(steps) if step["type"] is PackPairs)
    dim = f"train_dataloader.dataset.pipeline.{place}.std=(1.0, 1.0, 1.0)"
    same = f"train_dataloader.dataset.pipeline.{place}.std=(0.229, 0.224, 0.225)"  # the default
    for verb in ("cache_teacher", "teacher_regions"):
        assert run(verb)[0] == 0
        assert run(verb, "--cfg-options", same)[0] == 0
        for option, word in ((dim, "1.0, 1.0, 1.0"), ("model.teacher.taps={'map':'stem'}", "stem")):
            code, said = run(verb, "--cfg-options", option)
            assert code == 1
            assert word in said


def test_images_that_were_written_anew_are_not_replayed(weights, tmp_path, capsys):
    """A cache belongs to what the teacher saw, under the same names too."""
    make_mini(tmp_path / "data")
    words = ["cache_teacher", CONFIG, "--infos", tmp_path / "data/infos.pkl", "--data-root",
             tmp_path / "data", "--checkpoint", weights, "--workers", 0, "--size", *SIZE,
             "--out", tmp_path / "cache"]  # fmt: skip
    assert cli.main([str(word) for word in words]) == 0
    assert len(read_manifest(tmp_path / "cache")["files"]) == 3
    config = load_config(CONFIG, data_root=str(tmp_path / "data"))
    config.model.teacher.cache = dict(folder=str(tmp_path / "cache"), size=SIZE)
    note_inputs(config)
    shutil.copytree(tmp_path / "data", tmp_path / "moved")  # new times, the same data
    config.train_dataloader.dataset["data_root"] = str(tmp_path / "moved")
    note_inputs(config)
    for path in (tmp_path / "data/samples").rglob("*.jpg"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    assert cli.main([str(word) for word in words]) == 1
    assert "said of another file" in " ".join(capsys.readouterr().err.split())
    config.train_dataloader.dataset["data_root"] = str(tmp_path / "data")
    with pytest.raises(DataError, match="written anew since"):
        note_inputs(config)


def test_a_cache_that_a_training_fills_remembers_its_images_too(weights, tmp_path):
    """Of `mode="exact"` nothing was noted: old maps for images that were written anew."""
    make_mini(tmp_path / "data")
    config = load_config(CONFIG, data_root=str(tmp_path / "data"))
    config.train_dataloader.dataset.update(ann_file="infos.pkl")
    config.model.teacher.update(
        checkpoint=str(weights), cache=dict(folder=str(tmp_path / "c"), size=SIZE, mode="exact")
    )
    note_inputs(config)
    teacher = Teacher(**{**config.model.teacher, "taps": {"map": ""}, "inputs": ("images",)})
    teacher.cache.open(teacher)
    assert len(read_manifest(tmp_path / "c")["files"]) == 3
    note_inputs(config)  # a start that goes on
    for path in (tmp_path / "data/samples").rglob("*.jpg"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    with pytest.raises(DataError, match="written anew since"):
        note_inputs(config)


def test_regions_of_images_that_were_written_anew_are_made_again(weights, tmp_path, capsys):
    """The same names: "the store is complete", with the regions of the old images."""
    make_mini(tmp_path / "data")
    words = ["teacher_regions", CONFIG, "--infos", tmp_path / "data/infos.pkl", "--data-root",
             tmp_path / "data", "--checkpoint", weights, "--workers", 0, "--size", *SIZE,
             "--out", tmp_path / "regions"]  # fmt: skip
    for _ in range(2):
        assert cli.main([str(word) for word in words]) == 0
    for path in (tmp_path / "data/samples").rglob("*.jpg"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    assert cli.main([str(word) for word in words]) == 1
    assert "run: lidistill teacher_regions CONFIG" in " ".join(capsys.readouterr().err.split())


def test_budget_ends_the_work(run, tmp_path):
    one = 64 * 12 * 20 * 2 + 256
    said = run("cache_teacher", "--out", tmp_path / "c", "--budget-gib", 3.5 * one / 2**30)
    assert "1 frames done now" in said
    assert "the budget is used up" in said


@pytest.mark.parametrize("scope", ["image", "sample"])
def test_regions_are_clusters_of_the_teachers_map(scope, run, root, weights, tmp_path):
    from lidistill.engine.offline.whole_images import WholeImages
    from lidistill.ops.segments.kmeans import cluster_maps

    out = tmp_path / "store"
    options = ("--out", out, "--clusters", 4, "--scope", scope)
    if scope == "sample":
        assert "to do: about" in run("teacher_regions", *options, "--dry-run")
        assert not out.exists()
        assert "waits for other shares" in run("teacher_regions", *options, "--shard", "1/2")
    assert "the store is complete" in run("teacher_regions", *options)
    store = SuperpixelStore(out, {"method": "clusters", "clusters": 4, "scope": scope})
    assert len(store) == 6

    config = load_config(CONFIG, data_root=str(root))
    dataset = WholeImages(config.train_dataloader.dataset, SIZE, [str(root / "infos.pkl")])
    frame = dataset[1]
    teacher = Teacher(config.model.teacher["model"], taps={"map": ""}, checkpoint=str(weights))
    with torch.no_grad():
        maps = teacher.model(frame.images)
    groups = [maps] if scope == "sample" else maps.split(1)
    expected = torch.cat([cluster_maps(group, 4, SIZE) for group in groups])
    rows = (2 * np.arange(HEIGHT) + 1) * SIZE[0] // (2 * HEIGHT)
    columns = (2 * np.arange(WIDTH) + 1) * SIZE[1] // (2 * WIDTH)
    for name, labels in zip(frame.names, expected.numpy(), strict=True):
        np.testing.assert_array_equal(read_label_map(out / name), labels[rows[:, None], columns])
        assert len(np.unique(labels)) > 1


def test_arguments_that_lack_something_say_what(root, tmp_path, capsys):
    words = ["cache_teacher", str(CONFIG), "--data-root", str(root)]
    for more, expected in (
        ([], "--size H W"),
        (["--size", "48", "80"], "--checkpoint work_dirs"),
        (["--size", "48", "80", "--checkpoint", "x.pth"], "--out FOLDER"),
        (["--size", "48", "80", "--shard", "3/2"], "expected I/N"),
    ):
        assert cli.main([*words, *more]) != 0
        assert expected in capsys.readouterr().err
    other = CONFIG.parent / "demo_teacher.py"
    assert cli.main(["cache_teacher", str(other), "--out", str(tmp_path)]) != 0
    assert "model.teacher" in capsys.readouterr().err
