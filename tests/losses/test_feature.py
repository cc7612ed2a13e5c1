# SPDX-License-Identifier: Apache-2.0
"""ScaLR's loss and OLIVINE's sampling weights against loops."""

import math

import numpy as np
import pytest
import torch

from lidistill.losses.feature import normalized_l2
from lidistill.losses.sampling import density_sampling_weights, kernel_density


def test_normalized_l2_equals_a_loop():
    points = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    pixels = torch.randn(6, 4, dtype=torch.float64)
    expected = np.mean(
        [
            np.linalg.norm(p / np.linalg.norm(p) - q / np.linalg.norm(q))
            for p, q in zip(points.detach().numpy(), pixels.numpy(), strict=True)
        ]
    )
    assert abs(float(normalized_l2(points, pixels)) - expected) < 1e-12
    assert torch.autograd.gradcheck(lambda p: normalized_l2(p, pixels), points)


def test_length_does_not_matter_and_equal_vectors_have_a_finite_gradient():
    points = torch.randn(5, 3, requires_grad=True)
    loss = normalized_l2(points, 3 * points.detach())
    loss.backward()
    assert float(loss) < 1e-6
    assert torch.all(torch.isfinite(points.grad))
    exact = torch.eye(3, requires_grad=True)
    normalized_l2(exact, torch.eye(3)).backward()
    assert torch.all(exact.grad == 0)


def test_no_pairs():
    source = torch.randn(5, 3, requires_grad=True)
    loss = normalized_l2(source[:0], torch.zeros(0, 3))
    loss.backward()
    assert float(loss) == 0.0
    assert torch.all(source.grad == 0)


def test_half_precision_is_computed_in_float32():
    assert normalized_l2(torch.ones(2, 3).bfloat16(), torch.ones(2, 3)).dtype == torch.float32


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        normalized_l2(torch.ones(2, 3), torch.ones(2, 4))


def test_kernel_density_equals_a_loop():
    values = torch.tensor([0.0, 1.0, 1.5, 8.0])
    for chunk in (2, 100):
        got = kernel_density(values, 0.7, chunk)
        for i, x in enumerate(values.tolist()):
            kernel = [math.exp(-0.5 * ((x - y) / 0.7) ** 2) for y in values.tolist()]
            expected = sum(kernel) / 4 / (0.7 * math.sqrt(2 * math.pi))
            assert abs(float(got[i]) - expected) < 1e-6


def test_far_points_and_rare_labels_are_lifted():
    distance = torch.cat([torch.full((50,), 5.0), torch.tensor([60.0, 61.0])])
    labels = torch.cat([torch.zeros(40), torch.ones(10), torch.ones(2)]).long()
    weights = density_sampling_weights(distance, labels)
    assert float(weights[51]) > float(weights[45]) > float(weights[0]) > 0


def test_sampling_weights_of_degenerate_input():
    assert density_sampling_weights(torch.zeros(0), torch.zeros(0).long()).shape == (0,)
    assert torch.all(torch.isfinite(density_sampling_weights(torch.ones(1), torch.tensor([0]))))
    assert torch.all(torch.isfinite(density_sampling_weights(torch.ones(9), torch.ones(9).long())))
    with pytest.raises(ValueError, match="expected distance"):
        density_sampling_weights(torch.ones(3), torch.ones(2).long())
