# SPDX-License-Identifier: Apache-2.0
"""Masks of other tools as regions: forms, painting, names, refusals, the verb, and into a batch."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lidistill.converters.superpixels import cli as superpixels_cli
from lidistill.converters.superpixels.make import make_regions
from lidistill.converters.superpixels.mask_files import paint, paint_runs, read_regions
from lidistill.converters.superpixels.masks import MaskSource, tidy
from lidistill.converters.superpixels.store import Job, SuperpixelStore, find_jobs
from lidistill.io import NO_REGION, DataError, read_label_map, read_manifest
from tests.converters.superpixels.test_rle import naive_runs
from tests.datasets.mini import HEIGHT, WIDTH, make_mini

SIZE = (12, 15)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    make_mini(folder, superpixels=False, suffix=".png")
    return folder


def random_masks(seed: int = 0, count: int = 5, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Overlapping rectangles that leave pixels uncovered."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *size), dtype=bool)
    for mask in masks:
        row, column = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
        mask[row : row + rng.integers(2, 8), column : column + rng.integers(2, 8)] = True
    return masks


def naive_paint(masks: np.ndarray) -> np.ndarray:
    """Each pixel belongs to its smallest mask; the later of two alike."""
    order = sorted(range(len(masks)), key=lambda index: (-int(masks[index].sum()), index))
    labels = np.full(masks.shape[1:], -1)
    for row in range(masks.shape[1]):
        for column in range(masks.shape[2]):
            for label, index in enumerate(order):
                if masks[index, row, column]:
                    labels[row, column] = label
    return labels


@pytest.mark.parametrize("seed", range(3))
def test_smaller_masks_lie_on_top(seed):
    masks = random_masks(seed)
    expected = naive_paint(masks)
    assert (expected < 0).any()
    np.testing.assert_array_equal(paint(masks), expected)
    runs = [np.array(naive_runs(mask)) for mask in masks]
    np.testing.assert_array_equal(paint_runs(runs, SIZE), expected)


def test_no_mask_at_all():
    assert (paint(np.zeros((0, *SIZE), bool)) == -1).all()
    assert (paint_runs([], SIZE) == -1).all()


def test_an_image_in_which_nothing_was_found(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    assert (MaskSource(tmp_path).labels(job_of(tmp_path / "x.json")) == NO_REGION).all()


def test_tidy_drops_small_regions_and_closes_gaps():
    labels = np.array([[7, 7, 7], [2, -1, 9], [9, 9, 2]])
    kept = [[7, 7, 7], [-1, -1, 9], [9, 9, -1]]
    assert tidy(labels, 3, renumber=False).tolist() == kept
    assert tidy(labels, 3, renumber=True).tolist() == [[0, 0, 0], [-1, -1, 1], [1, 1, -1]]


def job_of(path: Path, size: tuple[int, int] = SIZE) -> Job:
    return Job("x.png", path, "token7", size)


def coco_records(masks: np.ndarray, compressed: bool) -> list[dict]:
    records = []
    for mask in masks:
        counts: object = naive_runs(mask)
        if compressed:
            coco = pytest.importorskip("pycocotools.mask")
            counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        code = {"size": list(mask.shape), "counts": counts}
        records.append({"segmentation": code, "area": int(mask.sum()), "bbox": [0, 0, 1, 1]})
    return records


def write_masks(path: Path, masks: np.ndarray, form: str) -> Path:
    if form == "npz":
        np.savez_compressed(path.with_suffix(".npz"), masks=masks)
        return path.with_suffix(".npz")
    if form == "npy":
        np.save(path.with_suffix(".npy"), masks.astype(np.uint8))
        return path.with_suffix(".npy")
    content: object = coco_records(masks, compressed=form != "counts")
    if form == "sa1b":
        content = {"image": {"file_name": "x.jpg"}, "annotations": content}
    path.with_suffix(".json").write_text(json.dumps(content))
    return path.with_suffix(".json")


@pytest.mark.parametrize("form", ["npz", "npy", "sam", "sa1b", "counts"])
def test_every_form_of_masks_gives_the_same_labels(form, tmp_path):
    masks = random_masks(3)
    labels = MaskSource(tmp_path).labels(job_of(write_masks(tmp_path / "x", masks, form)))
    painted = naive_paint(masks)
    shown = np.unique(painted[painted >= 0])
    expected = np.where(painted < 0, NO_REGION, np.searchsorted(shown, painted))
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint16


def test_a_map_of_true_and_false_is_one_mask(tmp_path):
    """What is outside was region 0."""
    mask = random_masks(3, count=1)[0]
    np.save(tmp_path / "x.npy", mask)
    labels = MaskSource(tmp_path).labels(job_of(tmp_path / "x.npy"))
    np.testing.assert_array_equal(labels, np.where(mask, 0, NO_REGION))


@pytest.mark.parametrize("form", ["8 bits", "16 bits", "npz", "npy"])
def test_label_maps_keep_their_values(form, tmp_path):
    top = 200 if form == "8 bits" else 60_000
    labels = np.random.default_rng(0).choice([3, 17, top], size=SIZE)
    path = tmp_path / ("x.png" if "bits" in form else f"x.{form}")
    if "bits" in form:
        Image.fromarray(labels.astype(np.uint8 if top == 200 else np.uint16)).save(path)
    else:
        save = np.savez if form == "npz" else np.save
        save(path, labels)
    np.testing.assert_array_equal(MaskSource(tmp_path).labels(job_of(path)), labels)
    got = MaskSource(tmp_path, renumber=True, no_region=(3,)).labels(job_of(path))
    np.testing.assert_array_equal(got, np.select([labels == 3, labels == 17], [NO_REGION, 0], 1))


def test_a_file_is_of_one_image_and_an_image_has_one_file(tmp_path):
    jobs = [
        Job(f"{drive}_000000.png", Path(f"/data/{drive}/image_2/000000.png"), f"{drive}_0", SIZE)
        for drive in ("00", "08")
    ]
    np.save(tmp_path / "000000.npy", np.zeros(SIZE, int))
    source = MaskSource(tmp_path)
    with pytest.raises(DataError, match=r"(?s)two images: .*/00/.*/08/.*08_000000\.npy"):
        source.prepare(jobs)
    assert source.prepare(jobs[1:])[0].image.name == "000000.npy"
    with pytest.raises(DataError, match="two images"):  # the other one is of another share
        source.prepare(jobs[1:], jobs[:1])
    for drive in ("00", "08"):
        np.save(tmp_path / f"{drive}_000000.npy", np.zeros(SIZE, int))
    names = [job.image.name for job in source.prepare(jobs)]
    assert names == ["00_000000.npy", "08_000000.npy"]
    np.savez(tmp_path / "08_000000.npz", np.ones(SIZE, int))
    with pytest.raises(DataError, match=r"of one image: 08_000000\.npy and 08_000000\.npz"):
        source.prepare(jobs)


def test_refusals_name_file_and_token(tmp_path):
    source = MaskSource(tmp_path)
    np.save(tmp_path / "big.npy", np.full(SIZE, 70_000))
    np.save(tmp_path / "small.npy", np.zeros((6, 5), int))
    np.savez(tmp_path / "two.npz", a=np.zeros(SIZE, int), b=np.zeros(SIZE, int))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "polygon.json").write_text('[{"segmentation": [[1, 2, 3, 4]]}]')
    (tmp_path / "short.json").write_text('[{"size": [12, 15], "counts": [3, 2]}]')
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "colour.png")
    for name, words in {
        "big.npy": "below 65535.*--renumber",
        "small.npy": "12 x 15 pixels like the image, got 6 x 5.*--resize",
        "two.npz": r"one integer array.*got \(12, 15\) int64, \(12, 15\) int64",
        "objects.npy": "do not load",
        "cut.npz": "do not load",
        "polygon.json": "run-length code.*coco_rle",
        "short.json": "cover it with their runs",
        "colour.png": "single-channel",
    }.items():
        with pytest.raises(DataError, match=rf"(?s){words}") as error:
            source.labels(job_of(tmp_path / name))
        assert name in str(error.value)
        assert "token7" in str(error.value)
    assert (MaskSource(tmp_path, resize=True).labels(job_of(tmp_path / "small.npy")) == 0).all()
    with pytest.raises(DataError, match="File not found"):
        read_regions(tmp_path / "none.png")


def export(root: Path, folder: Path, name_of) -> list[Job]:
    """A random mask file for each image of the small data set, named by ``name_of(job)``."""
    jobs = find_jobs([root / "infos.pkl"], root)
    for seed, job in enumerate(jobs):
        path = folder / name_of(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_masks(path, random_masks(seed, size=(HEIGHT, WIDTH)), "npz")
    return jobs


@pytest.mark.parametrize(
    "name_of",
    [
        lambda job: Path(job.name).stem,
        lambda job: job.image.stem,
        lambda job: "/".join(job.image.with_suffix("").parts[-3:]),
        lambda job: f"any/{job.image.stem}",
    ],
    ids=["token", "name", "same folders", "somewhere"],
)
def test_files_are_found_by_name(name_of, root, tmp_path):
    jobs = export(root, tmp_path, name_of)
    found = MaskSource(tmp_path).prepare(jobs)
    assert [job.name for job in found] == [job.name for job in jobs]
    assert [str(job.image) for job in found] == [str(tmp_path / name_of(j)) + ".npz" for j in jobs]


def test_ambiguous_and_missing_files_are_an_error(root, tmp_path):
    jobs = export(root, tmp_path / "a", lambda job: job.image.stem)
    export(root, tmp_path / "b", lambda job: job.image.stem)
    with pytest.raises(DataError, match=r"6 of 6 images have no mask file.*CAM_FRONT_0"):
        MaskSource(tmp_path).prepare(jobs)
    with pytest.raises(DataError, match="No folder of masks"):
        MaskSource(tmp_path / "c").prepare(jobs)


def run_verb(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    superpixels_cli.add_arguments(parser)
    return superpixels_cli.run(parser.parse_args([str(word) for word in arguments]))


def test_verb_imports_in_shares_and_resumes(root, tmp_path, capsys):
    export(root, tmp_path / "sam", lambda job: job.image.stem)
    out = tmp_path / "store"
    words = (root / "infos.pkl", "--data-root", root, "--out", out, "--jobs", 1)
    words += ("--import-masks", tmp_path / "sam")
    assert run_verb(*words, "--dry-run") == 0
    assert "6 images, 0 of them done" in capsys.readouterr().out
    assert run_verb(*words, "--shard", "2/2") == 0
    assert "3 images done now; the store waits for the other shares" in " ".join(
        capsys.readouterr().out.split()
    )
    with pytest.raises(DataError, match="unfinished"):
        SuperpixelStore(out)
    (out / ".sd_x.tmp.png").write_bytes(b"left by a killed run")
    assert run_verb(*words, "--shard", "1/2") == 0
    assert "the store is complete" in capsys.readouterr().out
    assert len(SuperpixelStore(out, {"method": "masks", "renumber": False})) == 6
    assert read_manifest(out)["parameters"]["folder"] == "sam"
    assert run_verb(*words) == 0
    assert "0 images done now" in capsys.readouterr().out
    with pytest.raises(DataError, match="min_pixels"):
        run_verb(*words, "--min-pixels", 9)
    (tmp_path / "sam").rename(tmp_path / "away")  # of images that are done, masks may be gone
    (tmp_path / "sam").mkdir()
    assert run_verb(*words) == 0
    for seed, job in enumerate(export(root, tmp_path / "other/sam", lambda job: job.image.stem)):
        path = next((tmp_path / "other/sam").glob(f"{job.image.stem}.*"))
        write_masks(path, random_masks(seed + 9, size=(HEIGHT, WIDTH)), "npz")
    with pytest.raises(DataError, match="The regions in this store are not those"):
        run_verb(*words[:-1], tmp_path / "other" / "sam")
    with pytest.raises(ValueError, match="--segments: an option of SLIC"):
        run_verb(*words, "--segments", 9)
    with pytest.raises(ValueError, match="--no-region, --resize: an option of masks alone"):
        run_verb(*words[:-2], "--resize", "--no-region", 0)
    with pytest.raises(ValueError, match="expected I/N"):
        run_verb(*words, "--shard", "3/2")


def test_store_reaches_the_batch_with_uncovered_pixels_outside(root, tmp_path):
    from lidistill.datasets.collate import collate_pairs
    from lidistill.datasets.loading import (
        LoadImages,
        LoadPoints,
        LoadSuperpixels,
        PackPairs,
        PairPoints,
        Voxelize,
    )
    from lidistill.datasets.pairs_dataset import ImageLidarPairs
    from lidistill.distill.regions import SuperpixelRegions
    from lidistill.geometry.voxels import CartesianVoxels

    jobs = export(root, tmp_path / "sam", lambda job: job.image.stem)
    make_regions(MaskSource(tmp_path / "sam"), root / "infos.pkl", root, tmp_path / "store")
    voxels = CartesianVoxels((0.5, 0.5, 0.5), (-20, -20, -5, 20, 20, 5))
    steps = [LoadPoints(), LoadImages(), LoadSuperpixels(), PairPoints(), Voxelize(voxels)]
    frames = ImageLidarPairs(
        root / "infos.pkl", root, [*steps, PackPairs()], superpixels_dir=tmp_path / "store"
    )
    batch = collate_pairs([frames[0]])["inputs"]
    for image, job in enumerate(jobs[:2]):
        labels = read_label_map(tmp_path / "store" / job.name)
        expected = np.where(labels == NO_REGION, -1, labels)
        np.testing.assert_array_equal(batch.superpixels[image], expected)
        assert (expected < 0).any()
    regions = SuperpixelRegions.from_batch(batch)
    row, column = batch.pair_rowcol.T
    outside = batch.superpixels[batch.pair_image, row, column] < 0
    assert outside.any()
    assert bool((regions.pair_region[outside] == -1).all())


def rle(path: Path, size: list[int], counts: object) -> Path:
    path.write_text(json.dumps([{"segmentation": {"size": size, "counts": counts}}]))
    return path


@pytest.mark.parametrize(
    ("size", "counts", "words"),
    [
        ([12, 14], [168], "12 x 15 pixels like the image, got 12 x 14"),
        ([50_000, 50_000], [25 * 10**8], "12 x 15 pixels"),
        ([-12, -15], [180], "12 x 15 pixels"),
        ([12, 15], [2**63, 2**63, 180], "does not read"),
        ([12, 15], [2**62, 2**62, 2**62, 2**62, 180], "does not read"),
        ([12, 15], [-1, 181], "does not read"),
        ([12, 15], [10**400], "does not read"),
        ([12, 15], "o" * 40 + "0", "does not read"),
        ([12, 15], [179], "cover it"),
        ([10**400, 1], [180], "12 x 15 pixels|does not read"),
    ],
)
def test_run_lengths_that_lie_are_named(tmp_path, size, counts, words):
    path = rle(tmp_path / "a.json", size, counts)
    with pytest.raises(DataError, match=rf"(?s)({words}).*a\.json"):
        read_regions(path, "t1", SIZE, resize=False)


def test_large_regions_are_refused_before_memory_is_taken(tmp_path):
    path = rle(tmp_path / "a.json", [50_000, 50_000], [25 * 10**8])
    with pytest.raises(DataError, match=r"(?s)1 to 100,000,000 pixels.*a\.json"):
        read_regions(path, "t1", SIZE)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"(?s)nested too deeply.*a\.json"):
        read_regions(path)
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1), np.uint8))
    for shape in ((200_000, 200_000), (10**6, 12, 15), (-3, 4)):
        with (tmp_path / "a.npy").open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, {**header, "shape": shape})
        with pytest.raises(DataError, match=r"a\.npy"):
            read_regions(tmp_path / "a.npy", "t1", SIZE)
    np.savez_compressed(tmp_path / "a.npz", np.zeros((20_000, 20_000), np.uint8))
    with pytest.raises(DataError, match=r"(?s)pixels, got 20000 x 20000.*a\.npz"):
        read_regions(tmp_path / "a.npz", "t1", SIZE)
    np.save(tmp_path / "b.npy", np.full(SIZE, 2**64 - 1, dtype=np.uint64))
    with pytest.raises(DataError, match="Expected labels up to"):
        read_regions(tmp_path / "b.npy", "t1", SIZE)


def test_more_regions_than_a_store_holds_name_the_way_out(tmp_path):
    labels = np.arange(300 * 300).reshape(300, 300)
    np.save(tmp_path / "a.npy", labels)
    job = Job("a.png", tmp_path / "a.npy", "t1", (300, 300))
    with pytest.raises(DataError, match=r"got 89999\.(?s:.*)--renumber"):
        MaskSource(tmp_path).labels(job)
    np.save(tmp_path / "a.npy", np.where(labels < 300, NO_REGION, labels % 7))
    with pytest.raises(DataError, match=r"got 65535\.(?s:.*)--no-region 65535; else pass --renum"):
        MaskSource(tmp_path).labels(job)
    nothing = MaskSource(tmp_path, no_region=(NO_REGION,)).labels(job) == NO_REGION
    np.testing.assert_array_equal(nothing, labels < 300)
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(DataError, match=r"90000 regions in one image(?s:.*)--min-pixels"):
        MaskSource(tmp_path, renumber=True).labels(job)
    assert (MaskSource(tmp_path, renumber=True, min_pixels=2).labels(job) == NO_REGION).all()


FORMS = ("png", "npy", "npz", "json")


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_damaged_masks_are_an_error_or_regions(tmp_path_factory, data):
    form = data.draw(st.sampled_from(FORMS))
    path = tmp_path_factory.getbasetemp() / f"damaged.{form}"
    masks = random_masks()
    if form == "png":
        Image.fromarray(paint(masks).astype(np.uint16)).save(path)
    elif form == "json":
        rle(path, list(SIZE), [90, 30, 60])
    else:
        (np.save if form == "npy" else np.savez)(path, masks)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(bytes(content))
    with contextlib.suppress(DataError):
        assert read_regions(path, "t1", SIZE, resize=False)[0].shape == SIZE
