# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR's weights against loops."""

import numpy as np
import pytest
import torch

from lidistill.losses.semantic_tolerance import (
    alive_regions,
    class_balance_weights,
    region_similarity,
    tolerant_weights,
)


@pytest.fixture
def similarity():
    features = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    features[4] = 0
    return region_similarity(features)


def test_similarity_is_a_cosine_and_dead_regions_are_zero(similarity):
    np.testing.assert_allclose(similarity.diagonal()[:4], 1.0, atol=1e-6)
    assert torch.all(similarity[4] == 0)
    assert alive_regions(similarity).tolist() == [i != 4 for i in range(30)]


@pytest.mark.parametrize("clip", [True, False])
def test_soft_weights(similarity, clip):
    weights = tolerant_weights(similarity, clip_similarity=clip)
    for i in range(30):
        for j in range(30):
            a = float(similarity[i, j])
            expected = 1.0 if i == j else 1 - (min(max(a, 0.0), 1.0) if clip else a)
            assert abs(float(weights[i, j]) - expected) < 1e-6


def test_quantile_spares_the_most_similar_negatives(similarity):
    weights = tolerant_weights(similarity, min_quantile=0.2)
    for i in range(30):
        soft = 1 - np.clip(similarity[i].numpy().astype(np.float64), 0, 1)
        threshold = np.quantile(soft.astype(np.float32), 0.2)
        for j in range(30):
            expected = 1.0 if i == j or (soft[j] >= threshold and soft[j] != 0) else 0.0
            assert float(weights[i, j]) == expected
    assert 0 < float((weights == 0).float().mean()) < 0.2


def test_twins_get_no_weight_however_many_they_are():
    """More regions alike than the quantile takes: their soft weight, 0, is the threshold."""
    similarity = torch.ones(5, 5)
    similarity[:, 4] = similarity[4] = 0.25
    similarity[4, 4] = 1.0
    weights = tolerant_weights(similarity, min_quantile=0.01)
    expected = torch.eye(5)
    expected[:, 4] = expected[4] = 1.0
    assert torch.equal(weights, expected)


def test_class_balance_equals_a_loop(similarity):
    votes = [sum(float(a) for a in row if a >= 0.5) for row in similarity]
    shifted = np.asarray(votes) - min(votes)
    np.testing.assert_allclose(
        class_balance_weights(similarity), 1 - shifted / shifted.max(), atol=1e-6
    )


def test_class_balance_counts_from_the_fewest_votes():
    """Where no region is dead, none has 0 votes."""
    similarity = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.6], [0.0, 0.6, 1.0]])
    expected = torch.tensor([1 - 0.2 / 0.8, 0.0, 1.0])  # of votes 1.8, 2.4, 1.6
    torch.testing.assert_close(class_balance_weights(similarity), expected)


def test_equal_votes_weigh_one():
    assert class_balance_weights(torch.eye(4)).tolist() == [1.0] * 4


def test_empty():
    none = torch.zeros(0, 0)
    assert tolerant_weights(none, 0.1).shape == (0, 0)
    assert class_balance_weights(none).shape == (0,)
    assert alive_regions(none).shape == (0,)


def test_quantile_is_checked(similarity):
    with pytest.raises(ValueError, match=r"min_quantile must lie in \[0, 1\), got 1.5"):
        tolerant_weights(similarity, 1.5)


def test_inputs_are_left_alone(similarity):
    before = similarity.clone()
    tolerant_weights(similarity, 0.1, clip_similarity=False)
    class_balance_weights(similarity)
    assert torch.equal(similarity, before)
