# SPDX-License-Identifier: Apache-2.0
"""KITTI AP: the official program's numbers, and a naive loop on random frames."""

from __future__ import annotations

import json
import math
import tarfile
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.converters.kitti.files import Labels, read_labels
from lidistill.evaluation.kitti import ap as module
from lidistill.evaluation.kitti.ap import LOOSE, STRICT, kitti_ap
from lidistill.evaluation.kitti.folders import read_folders
from tests.conftest import parity_dir
from tests.evaluation.kitti import reference


@cache
def unpacked(folder: Path) -> Path:
    with zipfile.ZipFile(parity_dir("monotakd") / "kitti_ap_cases.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    if not parity_dir("monotakd").is_dir():
        pytest.skip(f"no parity fixtures in {parity_dir('monotakd')}; set LIDISTILL_PARITY_DIR")
    return unpacked(tmp_path_factory.mktemp("kitti_ap"))


def read_case(folder: Path):
    names = sorted(path.name for path in (folder / "label_2").glob("*.txt"))
    return [
        [read_labels(folder / part / name, name) for name in names] for part in ("label_2", "pred")
    ]


def test_official_numbers(cases):
    """Every case that is there, from labels in memory and from the files at once."""
    expected = json.loads((parity_dir("monotakd") / "kitti_ap_expected.json").read_text())
    for case, wanted in expected["cases"].items():
        folder = next(cases.rglob(case))
        both = read_folders(folder, folder / "pred")
        for scores in (kitti_ap(*read_case(folder)), kitti_ap(both.truth, both.found)):
            for name, metrics in wanted["ap"].items():
                kind = name.capitalize()
                counts = wanted["num_valid_gt"].get(name)
                assert counts is None or list(scores.objects[kind]) == counts
                for metric, values in metrics.items():
                    for recalls in ("R40", "R11"):
                        ours = np.nan_to_num(scores.ap[kind][metric][recalls])
                        np.testing.assert_allclose(
                            ours, values[recalls], atol=1e-6, err_msg=f"{case} {name} {metric}"
                        )
    assert len(expected["cases"]) >= 3


def random_labels(rng, names, count, near=None):
    """Objects on the limits of the difficulties; detections near them, their scores often equal."""
    heights = rng.choice([24.0, 25.0, 26.0, 40.0, 41.0], count)
    corner = rng.uniform(0, 300, (count, 2))
    location = rng.uniform((-10, 1, 5), (10, 2, 40), (count, 3))
    rotation = rng.uniform(-np.pi, np.pi, count)
    size = np.tile([3.9, 1.5, 1.6], (count, 1))
    if near is not None:
        chosen = rng.integers(len(near.names), size=count)
        location = near.location[chosen] + rng.normal(0, 0.15, (count, 3))
        corner, rotation = near.bbox[chosen, :2] + rng.normal(0, 4, (count, 2)), near.rotation_y
        rotation = rotation[chosen] + rng.normal(0, 0.1, count)
    return Labels(
        names=tuple(rng.choice(names, count)),
        truncated=rng.choice([0.0, 0.0, 0.15, 0.3, 0.5, 0.6], count),
        occluded=rng.choice([0, 0, 1, 2, 3], count),
        alpha=rotation,
        bbox=np.concatenate([corner, corner + np.stack([heights * 2, heights], 1)], axis=1),
        size=size,
        location=location,
        rotation_y=rotation,
        score=rng.integers(1, 9, count) / 10,
    )


@pytest.mark.parametrize("seed", range(4))
def test_naive_loop(seed):
    rng = np.random.default_rng(seed)
    kinds = ["Car", "Car", "Van", "Pedestrian", "Person_sitting", "DontCare", "Truck"]
    truth = [random_labels(rng, kinds, 12) for _ in range(20)]
    found = [random_labels(rng, ["Car", "Pedestrian"], 15, labels) for labels in truth]
    truth[0], found[1] = random_labels(rng, kinds, 0), random_labels(rng, ["Car"], 0)
    scores = kitti_ap(truth, found, ("Car", "Pedestrian"), LOOSE)
    for name in ("Car", "Pedestrian"):
        for metric in ("bbox", "bev", "3d"):
            minimum = STRICT[name] if metric == "bbox" else LOOSE[name]
            for level in range(3):
                precision, similarity = reference.curves(truth, found, name, metric, level, minimum)
                ours = scores.precision[name]
                np.testing.assert_allclose(ours[metric][level], precision, atol=1e-12)
                if metric == "bbox":
                    np.testing.assert_allclose(ours["aos"][level], similarity, atol=1e-12)
    assert scores.ap["Car"]["3d"]["R40"][2] > 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 8))
def test_scores_do_not_depend_on_order(seed, objects, detections):
    """Ties apart, neither the order of frames nor of lines changes anything; ties break alike."""
    rng = np.random.default_rng(seed)
    truth = [random_labels(rng, ["Car", "Van", "DontCare"], objects) for _ in range(5)]
    found = [random_labels(rng, ["Car"], detections, t if objects else None) for t in truth]
    found = [replace(f, score=rng.permutation(len(f.score)) + rng.random()) for f in found]
    first = kitti_ap(truth, found, ("Car",), LOOSE)
    order = rng.permutation(5)
    lines = [rng.permutation(len(f.score)) for f in found]
    moved = [shuffled(found[k], lines[k]) for k in order]
    second = kitti_ap([truth[k] for k in order], moved, ("Car",), LOOSE)
    for metric in ("bbox", "3d"):
        for level in range(3):
            expected = reference.curves(truth, found, "Car", metric, level, STRICT_OR_LOOSE[metric])
            np.testing.assert_allclose(first.precision["Car"][metric][level], expected[0])
            np.testing.assert_allclose(
                second.precision["Car"][metric][level], expected[0], atol=1e-12
            )
    assert first.objects == second.objects


STRICT_OR_LOOSE = {"bbox": STRICT["Car"], "3d": LOOSE["Car"]}


def shuffled(labels: Labels, order) -> Labels:
    values = {key: value[order] for key, value in vars(labels).items() if key != "names"}
    return Labels(names=tuple(labels.names[k] for k in order), **values)


def test_all_scores_equal():
    """One score: one point of the curve, all detections there or none."""
    rng = np.random.default_rng(5)
    truth = [random_labels(rng, ["Car"], 6) for _ in range(8)]
    found = [replace(random_labels(rng, ["Car"], 9, t), score=np.full(9, 0.5)) for t in truth]
    precision = kitti_ap(truth, found, ("Car",), LOOSE).precision["Car"]["3d"]
    for level in range(3):
        expected, _ = reference.curves(truth, found, "Car", "3d", level, LOOSE["Car"])
        np.testing.assert_allclose(precision[level], expected, atol=1e-12)


def test_official_mode_leaves_absent_classes_out():
    truth, found = plain(["Car", "Cyclist"]), plain(["Car"])
    scores = kitti_ap([truth], [found], official=True)
    assert list(scores.ap) == ["Car"]
    assert "nothing was detected of Pedestrian, Cyclist" in scores.protocol
    assert kitti_ap([truth], [found]).ap["Cyclist"]["3d"]["R40"][1] == 0.0


def test_labels_or_detections_without_rectangles_or_boxes():
    none = np.full((1, 4), -1.0)
    flat = {"location": np.full((1, 3), -1000.0), "size": np.full((1, 3), -1.0)}
    cases = (
        (plain(["Car"], bbox=none), plain(["Car"]), "no label has a rectangle", "3d"),
        (plain(["Car"]), plain(["Car"], bbox=none), "no detection has a rectangle", "3d"),
        (plain(["Car"], **flat), plain(["Car"]), "no label has a box in space", "bbox"),
        (plain(["Car"]), plain(["Car"], **flat), "no detection has a box in space", "bbox"),
    )
    for truth, found, words, known in cases:
        scores = kitti_ap([truth], [found], ("Car",))
        assert words in scores.protocol
        other = "3d" if known == "bbox" else "bbox"
        assert scores.precision["Car"][known][0, 0] == 1.0
        assert math.isnan(scores.ap["Car"][other]["R40"][0])


@pytest.mark.slow
def test_the_whole_label_set(realdata_dir, tmp_path):
    """7,481 real label files against perturbed copies: the reference in every digit."""
    archive = realdata_dir / "kitti_labels" / "kitti_training_label_2_calib_7481.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if "label_2/" in m.name and m.name.endswith(".txt")]
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from 3.11.4 on
        tar.extractall(tmp_path, members, **safely)
    folder = next(tmp_path.rglob("label_2"))
    truth = [read_labels(path, path.stem) for path in sorted(folder.glob("*.txt"))]
    found = [perturbed(np.random.default_rng(k), labels) for k, labels in enumerate(truth)]
    scores = kitti_ap(truth, found)
    assert scores.frames == 7481
    for name, metric, level in (("Car", "3d", 1), ("Pedestrian", "bev", 0), ("Cyclist", "bbox", 2)):
        expected = reference.curves(truth, found, name, metric, level, STRICT[name])
        ours = scores.precision[name]
        np.testing.assert_allclose(ours[metric][level], expected[0], atol=1e-12)
        if metric == "bbox":
            np.testing.assert_allclose(ours["aos"][level], expected[1], atol=1e-12)


def perturbed(rng, labels):
    """Detections near the objects, some left out, scores with two decimals."""
    rows = [
        k for k, name in enumerate(labels.names) if name in module.CLASSES and rng.random() < 0.9
    ]
    kept = shuffled(labels, rows)
    count = len(rows)
    shift = rng.normal(0, 0.12, (count, 3)) * (1, 0.3, 1)
    return replace(
        kept,
        location=kept.location + shift,
        bbox=kept.bbox + rng.normal(0, 3, (count, 4)),
        rotation_y=kept.rotation_y + rng.normal(0, 0.05, count),
        alpha=kept.alpha + rng.normal(0, 0.3, count),
        score=np.round(rng.random(count), 2),
    )


def test_dont_care_excuses_false_positives():
    rng = np.random.default_rng(0)
    truth, found = (random_labels(rng, ["Car"], 2) for _ in range(2))
    truth.bbox[:, 3] = truth.bbox[:, 1] + 50
    truth.truncated[:], truth.occluded[:] = 0, 0
    found = replace(found, bbox=truth.bbox.copy(), score=np.array([0.5, 0.9]))
    found.bbox[1] += 500  # far away from the second car
    alone = kitti_ap([truth], [found], ("Car",)).precision["Car"]["bbox"][0, 0]
    rectangle = replace(truth, names=("Car", "DontCare"), bbox=found.bbox)
    excused = kitti_ap([rectangle], [found], ("Car",)).precision["Car"]["bbox"][0, 0]
    assert (alone, excused) == (0.5, 1.0)


def test_order_of_frames_does_not_matter(cases):
    truth, found = read_case(next(cases.rglob("case_lidar")))
    first = kitti_ap(truth, found, ("Car",))
    second = kitti_ap(truth[::-1], found[::-1], ("Car",))
    for metric, table in first.ap["Car"].items():
        np.testing.assert_allclose(table["R40"], second.ap["Car"][metric]["R40"], rtol=1e-12)
    assert "Car 0.7" in first.protocol
    assert first.mean("3d") == first.ap["Car"]["3d"]["R40"][1]
    assert first.metrics()["Car/3d_R40_moderate"] == first.mean()


def test_bad_input(cases):
    truth, found = read_case(next(cases.rglob("case_mono")))
    with pytest.raises(ValueError, match="as many frames"):
        kitti_ap(truth, found[:-1])
    with pytest.raises(ValueError, match="Tram"):
        kitti_ap(truth, found, ("Tram",))


def test_no_frames_are_no_score():
    scores = kitti_ap([], [])
    assert math.isnan(scores.mean())
    assert scores.objects["Car"] == (0, 0, 0)
    assert "no easy object of Car, Pedestrian, Cyclist counts: NaN" in scores.protocol
    nothing = kitti_ap([], [], ())
    assert math.isnan(nothing.mean("bbox", "R11", "hard"))
    assert "no class to score" in nothing.protocol


def plain(names, *, heights=50.0, scores=0.9, alpha=0.1, **changes):
    """Objects in a row that all count as easy, with rectangles of the given heights."""
    count = len(names)
    corner = np.stack([200.0 * np.arange(count), np.zeros(count)], axis=1)
    size = np.stack([np.full(count, 90.0), np.full(count, heights)], axis=1)
    labels = Labels(
        names=tuple(names),
        truncated=np.zeros(count),
        occluded=np.zeros(count, dtype=int),
        alpha=np.full(count, alpha),
        bbox=np.concatenate([corner, corner + size], axis=1),
        size=np.tile([3.9, 1.5, 1.6], (count, 1)),
        location=np.stack([5.0 * np.arange(count), np.ones(count), np.full(count, 20.0)], axis=1),
        rotation_y=np.zeros(count),
        score=np.full(count, scores),
    )
    return replace(labels, **changes)


def test_an_absent_class_has_no_score_and_is_not_in_the_mean():
    truth, found = plain(["Car"] * 5), plain(["Car"] * 5 + ["Cyclist"])
    scores = kitti_ap([truth], [found])
    assert all(math.isnan(v) for v in scores.ap["Cyclist"]["3d"]["R40"])
    assert scores.mean() == scores.ap["Car"]["3d"]["R40"][1] > 0
    assert "no moderate object of Pedestrian, Cyclist counts" in scores.protocol
    assert scores.metrics()["Car/objects_moderate"] == 5
    missed = kitti_ap([truth], [plain([])])
    assert missed.mean() == 0.0  # five cars that nobody found are 0, and no NaN


def test_names_in_another_case_are_the_same_class():
    first = kitti_ap([plain(["Car", "Van"])], [plain(["Car"])], ("Car",))
    second = kitti_ap([plain(["car", "VAN"])], [plain(["CAR"])], ("Car",))
    assert first.ap == second.ap
    assert first.objects == second.objects


def test_own_classes_have_an_overlap_each():
    truth, found = plain(["Forklift", "Car"]), plain(["Forklift", "Car"])
    moved = found.location + np.array([0.8, 0, 0])
    near = replace(found, location=moved)  # overlap (3.9 - 0.8) / 4.7 = 0.66
    near.bbox[:, [0, 2]] += 20  # overlap 70 / 110 = 0.64
    for minimum, expected in ((0.6, 1.0), (0.7, 0.0)):
        scores = kitti_ap([truth], [near], ("Forklift",), {"Forklift": minimum})
        for metric in ("bbox", "bev", "3d"):
            assert scores.precision["Forklift"][metric][0, 0] == expected
    assert "Forklift 0.7" in scores.protocol


def test_unknown_alpha_gives_no_aos():
    known = kitti_ap([plain(["Car"])], [plain(["Car"])], ("Car",))
    assert known.precision["Car"]["aos"][0, 0] == 1.0
    for truth, found in ((-10.0, 0.1), (0.1, -10.0)):
        scores = kitti_ap([plain(["Car"], alpha=truth)], [plain(["Car"], alpha=found)], ("Car",))
        assert all(math.isnan(v) for v in scores.ap["Car"]["aos"]["R40"])
        assert scores.ap["Car"]["bbox"] == known.ap["Car"]["bbox"]
        assert "alpha is unknown (-10) in Car: aos is NaN" in scores.protocol
    other = plain(["Car", "Van"], alpha=np.array([0.1, -10.0]))  # a Van does not count
    assert kitti_ap([other], [plain(["Car"])], ("Car",)).ap["Car"]["aos"] == known.ap["Car"]["aos"]


def test_without_images():
    scores = kitti_ap([plain(["Car"])], [plain(["Car"])], ("Car",), with_images=False)
    assert all(math.isnan(v) for m in ("bbox", "aos") for v in scores.ap["Car"][m]["R40"])
    assert scores.precision["Car"]["3d"][0, 0] == 1.0
    assert "without images" in scores.protocol


@pytest.mark.parametrize(("level", "height"), [(0, 40.0), (1, 25.0), (2, 25.0)])
def test_an_object_of_the_least_height_does_not_count_and_a_detection_does(level, height):
    """The official program: an object is out at ``height <= MIN_HEIGHT``, a detection below it."""
    for wanted, changed in ((0, height), (1, np.nextafter(height, 99))):
        objects = kitti_ap([plain(["Car"], heights=changed)], [plain([])], ("Car",)).objects
        assert objects["Car"][level] == wanted
    truth = plain(["Car", "Car"], heights=np.array([60.0, 60.0]))
    for wrong, changed in ((1, height), (0, np.nextafter(height, 0))):
        heights = np.array([60.0, 60.0, changed])
        found = plain(["Car"] * 3, heights=heights, scores=np.array([0.9, 0.9, 0.95]))
        # two right ones, and a third that is wrong where it counts
        precision = kitti_ap([truth], [found], ("Car",)).precision["Car"]["bbox"][level, 0]
        assert precision == pytest.approx(2 / (2 + wrong))
