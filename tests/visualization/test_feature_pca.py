# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.visualization.feature_pca import FeaturePCA


def features(points=500, channels=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(points, channels)) * np.geomspace(5, 0.1, channels)


def test_equals_sklearn_up_to_sign():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = features() @ np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0] + 3
    ours, theirs = FeaturePCA.fit(x), decomposition.PCA(3).fit(x)
    np.testing.assert_allclose(np.abs(ours.directions), np.abs(theirs.components_), atol=1e-8)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, atol=1e-10)


def test_sign_and_order_do_not_depend_on_the_order_of_points():
    x = features()
    order = np.random.default_rng(2).permutation(len(x))
    a, b = FeaturePCA.fit(x), FeaturePCA.fit(x[order])
    np.testing.assert_array_equal(a.colours(x)[order], b.colours(x[order]))
    largest = np.abs(a.directions).argmax(axis=1)
    assert (a.directions[np.arange(3), largest] > 0).all()
    assert (np.diff(a.explained) < 0).all()


def test_negated_features_keep_their_directions():
    x = features()
    np.testing.assert_allclose(FeaturePCA.fit(-x).directions, FeaturePCA.fit(x).directions)


def test_fit_on_one_set_applied_to_another():
    pca = FeaturePCA.fit(features(seed=0))
    colours = pca.colours(features(points=50, seed=3) * 100)
    assert colours.shape == (50, 3)
    assert colours.dtype == np.uint8
    assert {30, 255} <= set(colours[:, 0].tolist())  # beyond the range: clipped
    inside = pca.colours(features(seed=0))
    assert inside[:, 0].min() == 30
    assert inside[:, 0].max() == 255
    assert 115 < inside[:, 0].mean() < 170


@pytest.mark.parametrize("channels", [1, 2])
def test_few_channels(channels):
    x = features(channels=channels)
    colours = FeaturePCA.fit(x).colours(x)
    assert (colours[:, channels:] == 142).all()
    assert np.ptp(colours[:, 0]) == 225


def test_constant_features_are_grey():
    assert (FeaturePCA.fit(np.ones((5, 4))).colours(np.ones((5, 4))) == 142).all()


def test_bad_features():
    for bad in (np.zeros((1, 4)), np.zeros(4), np.full((4, 4), np.nan)):
        with pytest.raises(ValueError, match="expected finite features"):
            FeaturePCA.fit(bad)
    with pytest.raises(ValueError, match=r"fitted to 8 channels, got features \(5, 3\)"):
        FeaturePCA.fit(features()).colours(np.zeros((5, 3)))
