# SPDX-License-Identifier: Apache-2.0
"""PAConv's assembly beside loops, and its gradients beside finite differences."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.ops.mmcv import ext
from lidistill.ops.points.assign_scores import assign_scores

ext.install()


def parts(batch: int, seed: int, centres: int = 3, points: int = 5):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(batch, centres, 4, 2, generator=generator, dtype=torch.float64)
    features = torch.randn(2, batch, points, 2, 3, generator=generator, dtype=torch.float64)
    rows = torch.randint(-1, points + 1, (batch, centres, 4), generator=generator)
    rows[..., 0] = rows[..., 0].clamp(0, points - 1)
    return scores, features[0], features[1], rows


def loops(scores, points, centres, rows):
    batch, count, near, matrices = scores.shape
    out = torch.zeros(batch, points.shape[3], count, near, dtype=points.dtype)
    for b in range(batch):
        for m in range(count):
            for k in range(near):
                row, own = int(rows[b, m, k]), int(rows[b, m, 0])
                for w in range(matrices):
                    if 0 <= row < points.shape[1]:
                        gap = points[b, row, w] - centres[b, own, w]
                        out[b, :, m, k] += scores[b, m, k, w] * gap
    return out


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2), st.integers(0, 99))
def test_values_and_gradients_equal_the_loops(batch, seed) -> None:
    from mmcv.ops import assign_score_withk

    scores, points, centres, rows = parts(batch, seed)
    leaves = [part.requires_grad_() for part in (scores, points, centres)]
    found = assign_score_withk(*leaves, rows, "sum")
    wanted = loops(*leaves, rows)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    if batch:
        got = torch.autograd.grad(found.square().sum(), leaves)
        expected = torch.autograd.grad(wanted.square().sum(), leaves)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_no_number_stays_with_its_neighbour() -> None:
    scores, points, centres, rows = parts(1, 0)
    points[0, 4] = torch.nan
    found = assign_scores(scores, points, centres, rows)[0]
    asked = rows[0] == 4
    assert found[:, asked].isnan().all()
    assert found[:, ~asked & (rows[0] >= 0) & (rows[0] < 5)].isfinite().all()
