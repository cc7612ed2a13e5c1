# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
import torch

from lidistill.losses.lovasz import lovasz_gradient, lovasz_softmax


def draw(points=40, classes=5, seed=0, present=None, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(points, classes, generator=random, dtype=dtype)
    pool = torch.tensor(present if present is not None else list(range(classes)))
    labels = pool[torch.randint(len(pool), (points,), generator=random)]
    return scores.softmax(dim=1), labels


def jaccard_loss(wrong: set, truth: set) -> float:
    """One minus |truth without wrong| / |truth with wrong|: the set function that is extended."""
    union = truth | wrong
    return 1 - len(truth - wrong) / len(union) if union else 0.0


def naive(probabilities, labels, classes):
    """The Lovász extension by its definition: differences of the set function, worst first."""
    total = []
    for c in classes:
        truth = {i for i, label in enumerate(labels.tolist()) if label == c}
        errors = [
            1 - float(p[c]) if i in truth else float(p[c]) for i, p in enumerate(probabilities)
        ]
        order = sorted(range(len(errors)), key=lambda i: -errors[i])
        value, taken = 0.0, set()
        for i in order:
            gain = jaccard_loss(taken | {i}, truth) - jaccard_loss(taken, truth)
            value += errors[i] * gain
            taken = taken | {i}
        total.append(value)
    return float(np.mean(total))


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(seed):
    probabilities, labels = draw(seed=seed)
    expected = naive(probabilities, labels, range(5))
    assert float(lovasz_softmax(probabilities, labels)) == pytest.approx(expected, abs=1e-12)


def test_at_the_corners_it_is_the_jaccard_loss():
    for predicted in itertools.product(range(2), repeat=4):
        labels = torch.tensor([0, 0, 1, 1])
        hard = torch.nn.functional.one_hot(torch.tensor(predicted), 2).double()
        losses = []
        for c in range(2):
            truth = {i for i in range(4) if labels[i] == c}
            guess = {i for i in range(4) if predicted[i] == c}
            losses.append(1 - len(truth & guess) / len(truth | guess))
        assert float(lovasz_softmax(hard, labels)) == pytest.approx(np.mean(losses))


def test_absent_classes_cost_nothing_or_their_largest_probability():
    probabilities, labels = draw(present=[1, 3])
    present = lovasz_softmax(probabilities, labels)
    assert float(present) == pytest.approx(naive(probabilities, labels, [1, 3]), abs=1e-12)
    everything = lovasz_softmax(probabilities, labels, classes="all")
    assert float(everything) == pytest.approx(naive(probabilities, labels, range(5)), abs=1e-12)
    absent = probabilities[:, [0, 2, 4]].max(dim=0).values.sum()
    torch.testing.assert_close(5 * everything, 2 * present + absent)


def test_ignored_points_do_not_count():
    probabilities, labels = draw()
    kept = labels != 2
    expected = lovasz_softmax(probabilities[kept], labels[kept])
    torch.testing.assert_close(lovasz_softmax(probabilities, labels, ignore=2), expected)


def test_order_of_points_does_not_matter_and_gradient_is_right():
    probabilities, labels = draw(points=12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        lovasz_softmax(probabilities, labels), lovasz_softmax(probabilities[order], labels[order])
    )
    inputs = probabilities.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: lovasz_softmax(p, labels), (inputs,))


def test_nothing_labelled_is_zero_with_gradient():
    probabilities = torch.full((3, 2), 0.5, requires_grad=True)
    loss = lovasz_softmax(probabilities, torch.zeros(3, dtype=torch.uint8), ignore=0)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(probabilities.grad, torch.zeros(3, 2))


def test_gradient_of_one_point_and_sums():
    assert float(lovasz_gradient(torch.ones(1, 1))) == 1.0
    foreground = (torch.rand(3, 20, generator=torch.Generator().manual_seed(0)) > 0.5).double()
    torch.testing.assert_close(lovasz_gradient(foreground).sum(dim=1), torch.ones(3).double())


def test_wrong_input_is_named():
    probabilities, labels = draw()
    with pytest.raises(ValueError, match=r"expected probabilities \(N, C\)"):
        lovasz_softmax(probabilities[:-1], labels)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.4, got"):
        lovasz_softmax(probabilities, labels + 3)
    with pytest.raises(ValueError, match="'present' or 'all'"):
        lovasz_softmax(probabilities, labels, classes="some")
