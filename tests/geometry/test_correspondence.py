# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.geometry.correspondence import Pairs, crop_resize_affine, flip_affine


@pytest.fixture
def pairs() -> Pairs:
    rng = np.random.default_rng(0)
    camera = np.sort(rng.integers(0, 3, 200))
    return Pairs(rng.integers(0, 50, 200), camera, rng.uniform(0, [99, 59], (200, 2)))


def equal(a: Pairs, b: Pairs) -> bool:
    return (
        np.array_equal(a.point, b.point)
        and np.array_equal(a.camera, b.camera)
        and np.allclose(a.pixel_uv, b.pixel_uv, atol=1e-12)
    )


def test_rowcol_is_v_u_rounded_with_halves_to_even():
    pairs = Pairs(np.zeros(3, int), np.zeros(3, int), np.array([[0.5, 1.5], [2.5, 3.4], [7.6, 0]]))
    assert pairs.rowcol().tolist() == [[2, 0], [3, 2], [0, 8]]
    assert pairs.rounded().pixel_uv.tolist() == [[0, 2], [2, 3], [8, 0]]


@pytest.mark.parametrize("compat", [False, True])
def test_crop_resize_equals_a_naive_loop(pairs, compat):
    top, left, height, width = box = (5, 11, 40, 70)
    out_h, out_w = 24, 56
    moved = pairs.crop_resize(box, (out_h, out_w), compat)
    expected = []
    for point, camera, (u, v) in zip(pairs.point, pairs.camera, pairs.pixel_uv, strict=True):
        half = 0.0 if compat else 0.5
        new_u = (u - left + half) * out_w / width - half
        new_v = (v - top + half) * out_h / height - half
        if 0 <= round(new_v) < out_h and 0 <= round(new_u) < out_w:
            expected.append((point, camera, new_u, new_v))
    assert len(moved) == len(expected) > 20
    np.testing.assert_allclose(
        np.c_[moved.point, moved.camera, moved.pixel_uv], expected, atol=1e-12
    )


def test_crop_moves_pixels_as_opencv_moves_the_image():
    """A bright spot is found where its pixel was moved to (bilinear, half-pixel rule)."""
    cv2 = pytest.importorskip("cv2")
    box, size = (8, 12, 32, 48), (128, 192)  # four times larger: sub-pixel positions become visible
    rng = np.random.default_rng(1)
    for _ in range(5):
        row, column = rng.integers(14, 34), rng.integers(18, 54)
        image = np.zeros((60, 80), np.float32)
        image[row, column] = 1.0
        top, left, height, width = box
        large = cv2.resize(image[top : top + height, left : left + width], size[::-1])
        weight = large / large.sum()
        centre = np.array(
            [(weight.sum(0) * np.arange(192)).sum(), (weight.sum(1) * np.arange(128)).sum()]
        )
        pairs = Pairs(np.zeros(1, int), np.zeros(1, int), np.array([[float(column), float(row)]]))
        np.testing.assert_allclose(pairs.crop_resize(box, size).pixel_uv[0], centre, atol=1e-4)
        assert np.abs(pairs.crop_resize(box, size, compat=True).pixel_uv[0] - centre).max() > 1


def test_resize_loses_no_pair_and_stays_inside(pairs):
    for compat in (False, True):
        moved = pairs.resize((60, 100), (14, 26), compat)
        assert len(moved) == len(pairs)
        assert moved.inside(14, 26).all()
    border = Pairs(np.zeros(1, int), np.zeros(1, int), np.array([[98.99, 58.99]]))
    assert border.resize((60, 100), (14, 26), True).rowcol().tolist() == [[13, 25]]


def test_flip_twice_is_nothing_and_once_mirrors(pairs):
    flipped, widths = np.array([True, False, True]), np.array([100, 100, 80])
    once = pairs.flip(flipped, widths)
    for before, camera, after in zip(pairs.pixel_uv, pairs.camera, once.pixel_uv, strict=True):
        u = widths[camera] - 1 - before[0] if flipped[camera] else before[0]
        assert after.tolist() == [u, before[1]]
    assert equal(once.flip(flipped, widths), pairs)
    np.testing.assert_allclose(
        pairs.moved(flip_affine(100)).pixel_uv[:, 0], 99 - pairs.pixel_uv[:, 0]
    )


def test_drop_points_renumbers(pairs):
    keep = np.random.default_rng(2).random(50) < 0.6
    dropped = pairs.drop_points(keep)
    names = np.arange(50) * 7  # each point's own value, to follow it through the drop
    expected = [names[p] for p in pairs.point if keep[p]]
    assert names[keep][dropped.point].tolist() == expected
    assert len(pairs.drop_points(np.zeros(50, bool))) == 0


def test_select_cameras_reorders_and_renumbers(pairs):
    chosen = pairs.select_cameras([2, 0])
    assert chosen.counts(2).tolist() == pairs.counts(3)[[2, 0]].tolist()
    old = pairs.camera == 0
    expected = Pairs(pairs.point[old], np.ones(old.sum(), int), pairs.pixel_uv[old])
    assert equal(chosen.where(chosen.camera == 1), expected)
    assert len(pairs.select_cameras([])) == 0


def test_affine_of_a_crop_is_the_map_that_crop_resize_uses(pairs):
    box, size = (3, 4, 50, 60), (25, 120)
    affine = crop_resize_affine(box, size)
    uv1 = np.c_[pairs.pixel_uv, np.ones(len(pairs))] @ affine.T
    kept = pairs.moved(affine)
    np.testing.assert_allclose(kept.pixel_uv, uv1[:, :2], atol=1e-12)


def test_empty_pairs_go_through_everything():
    pairs = Pairs.empty()
    assert len(pairs.crop_resize((0, 0, 5, 5), (2, 2))) == 0
    assert len(pairs.flip(np.array([True]), np.array([5]))) == 0
    assert len(pairs.drop_points(np.ones(3, bool))) == 0
    assert pairs.counts(2).tolist() == [0, 0]
    assert pairs.rowcol().shape == (0, 2)
