# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from lidistill.evaluation.miou import PROTOCOLS, ConfusionMatrix, iou_from_counts


def naive_iou(true, predicted, num_classes, ignore, absent):
    """IoU by sets of points, one class at a time."""
    scores = {}
    points = [i for i in range(len(true)) if true[i] != ignore]
    for label in range(num_classes):
        if label == ignore:
            continue
        is_true = {i for i in points if true[i] == label}
        is_predicted = {i for i in points if predicted[i] == label}
        union = is_true | is_predicted
        scores[label] = len(is_true & is_predicted) / len(union) if union else absent
    return scores


def random_labels(seed, num_classes=17, points=2000, present=9):
    """Labels of a few of the classes, so that some are absent and one is only predicted."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, present, points)
    predicted = np.where(rng.random(points) < 0.6, true, rng.integers(1, present + 1, points))
    predicted[predicted == 0] = 1
    return true, predicted


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("protocol", "absent"), [("nuscenes", np.nan), ("slidr", 1.0)])
def test_equals_a_naive_loop(seed, protocol, absent):
    true, predicted = random_labels(seed)
    matrix = ConfusionMatrix(17)
    matrix.update(true, predicted)
    expected = naive_iou(true, predicted, 17, 0, absent)
    result = matrix.iou(protocol)
    assert np.isnan(result.per_class[0])
    np.testing.assert_allclose(
        result.per_class[1:], [expected[i] for i in range(1, 17)], atol=1e-12
    )
    assert result.miou == pytest.approx(np.nanmean(list(expected.values())), abs=1e-12)
    assert result.protocol == PROTOCOLS[protocol]


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_devkit(seed):
    utils = pytest.importorskip("nuscenes.eval.lidarseg.utils")
    ours, theirs = ConfusionMatrix(17), utils.ConfusionMatrix(17, 0)
    for part in range(3):
        true, predicted = random_labels(10 * seed + part)
        ours.update(true, predicted)
        theirs.update(true, predicted)
    result = ours.iou("nuscenes")
    # the devkit divides by a float32 union
    np.testing.assert_allclose(
        result.per_class[1:], theirs.get_per_class_iou()[1:], rtol=1e-6, equal_nan=True
    )
    assert result.miou == pytest.approx(theirs.get_mean_iou(), rel=1e-6)


def test_equals_the_slidr_authors_rule():
    """In words: drop the ignored row, IoU 1 where the union is empty, mean of the rest."""
    true, predicted = random_labels(7)
    hist = torch.zeros(17, 17)
    for t, p in zip(true, predicted, strict=True):
        hist[t, p] += 1
    hist[0] = 0
    union = hist.sum(0) + hist.sum(1) - hist.diag()
    expected = hist.diag() / union
    expected[union == 0] = 1.0
    matrix = ConfusionMatrix(17)
    matrix.update(torch.from_numpy(true), torch.from_numpy(predicted))
    assert matrix.iou("slidr").miou == pytest.approx(float(expected[1:].mean()), abs=1e-6)
    assert matrix.iou("slidr").miou > matrix.iou("nuscenes").miou


def test_clouds_add_up():
    true, predicted = random_labels(1)
    whole, first, second = ConfusionMatrix(17), ConfusionMatrix(17), ConfusionMatrix(17)
    whole.update(true, predicted)
    first.update(true[:700], predicted[:700])
    second.update(true[700:], predicted[700:])
    np.testing.assert_array_equal((first + second).counts, whole.counts)
    with pytest.raises(ValueError, match="same classes"):
        first + ConfusionMatrix(17, ignore=None)


def test_order_of_points_does_not_matter():
    true, predicted = random_labels(2)
    order = np.random.default_rng(0).permutation(len(true))
    a, b = ConfusionMatrix(17), ConfusionMatrix(17)
    a.update(true, predicted)
    b.update(true[order], predicted[order])
    assert a.iou().miou == b.iou().miou


def test_perfect_prediction_and_no_points():
    matrix = ConfusionMatrix(5)
    assert np.isnan(matrix.iou().miou)
    assert np.isnan(matrix.iou("slidr").miou)
    matrix.update(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    matrix.update(np.array([0, 1, 2, 2]), np.array([3, 1, 2, 2]))
    assert matrix.iou().miou == 1.0


def test_without_an_ignored_class():
    matrix = ConfusionMatrix(2, ignore=None)
    matrix.update(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))
    np.testing.assert_allclose(matrix.iou().per_class, [1 / 2, 2 / 3])


def test_reading_does_not_change_the_counts():
    true, predicted = random_labels(3)
    matrix = ConfusionMatrix(17)
    matrix.update(true, predicted)
    before = matrix.counts.copy()
    matrix.iou()
    np.testing.assert_array_equal(matrix.counts, before)


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([1, 2], [1], "2 true labels but 1 predicted"),
        ([1, 5], [1, 1], r"true labels must lie in 0\.\.4, got 1\.\.5"),
        ([1, 1], [1, -1], "predicted labels must lie in"),
        ([1, 1], [1, 0], "ignored and may not be predicted"),
        ([1.0, 1.0], [1, 1], "must be integers, got float64"),
    ],
)
def test_bad_labels(true, predicted, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(5).update(np.array(true), np.array(predicted))


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_classes must be positive"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="ignore must be a class"):
        ConfusionMatrix(3, ignore=3)
    with pytest.raises(ValueError, match="unknown protocol 'mean'; known: nuscenes, slidr"):
        iou_from_counts(np.eye(3, dtype=int), protocol="mean")  # type: ignore[arg-type]


@pytest.mark.parametrize(("protocol", "how"), [("nuscenes", "left out"), ("slidr", "IoU 1")])
def test_absent_classes_are_named(protocol, how):
    matrix = ConfusionMatrix(5)
    matrix.update(np.array([1, 1, 2, 0]), np.array([1, 3, 2, 2]))
    iou = matrix.iou(protocol)
    assert iou.absent == (3, 4)
    words = iou.absent_in_words(["ignore", "a", "b", "c", "d"])
    assert words == f"classes without a true point: c (IoU 0), d ({how})"
    matrix.update(np.array([3, 4]), np.array([3, 4]))
    assert matrix.iou(protocol).absent_in_words("abcde") == ""


@pytest.mark.parametrize("protocol", ["nuscenes", "slidr"])
def test_nothing_to_count_is_no_score(protocol):
    """Once SLidR's protocol called it 1."""
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 0]), np.array([1, 2]))
    iou = matrix.iou(protocol)
    assert np.isnan(iou.miou)
    assert np.isnan(iou.per_class).all()
    assert "no labelled point" in iou.absent_in_words("abc")


def test_present_leaves_out_classes_without_a_true_point() -> None:
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[1, 1], counts[1, 3], counts[2, 2] = 6, 2, 4  # class 3 is predicted, and never true
    present = iou_from_counts(counts, 0, "present")
    assert present.miou == pytest.approx((6 / 8 + 1) / 2)
    assert np.isnan(present.per_class[[0, 3]]).all()
    assert iou_from_counts(counts, 0, "nuscenes").miou == pytest.approx((6 / 8 + 1 + 0) / 3)
