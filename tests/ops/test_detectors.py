# SPDX-License-Identifier: Apache-2.0
"""Unmodified mmdet3d detectors train and predict over the bridges, as with compiled mmcv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill import compat
from tests.ops import detector_cases, detector_runs, more_detectors
from tests.ops.oracle import oracle_python, run_in_oracle

pytestmark = pytest.mark.slow
# What of the others calls no op that compiled mmcv has for CUDA only.
ON_CPU = ("second", "pointpillars", "centerpoint", "smoke", "fcos3d", "pgd", "imvoxelnet")
LONG = ("second", "pointpillars", "fcos3d")
ITERATIONS = 50


class Trained:
    """A detector before and after one step, its losses and its predictions."""

    def __init__(self, name: str) -> None:
        compat.apply()
        cases = detector_runs.cases_of(name)
        model = cases.build(name)
        self.before = {key: value.clone() for key, value in model.state_dict().items()}
        values = cases.losses(model, name)
        terms = [value for key, value in values.items() if "loss" in key]
        sum(terms).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        torch.optim.SGD(model.parameters(), lr=1e-3).step()
        self.losses = {key: float(value.detach()) for key, value in values.items()}
        self.terms = len(terms)
        self.grads = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
        self.after = {key: value.clone() for key, value in model.state_dict().items()}
        self.predictions = {
            key: np.asarray(value) for key, value in cases.predictions(model, name).items()
        }


@pytest.fixture(scope="module", params=[*detector_cases.CONFIGS, *more_detectors.CONFIGS], ids=str)
def trained(request: pytest.FixtureRequest) -> tuple[str, Trained]:
    return request.param, Trained(request.param)


def test_trains_and_predicts(trained) -> None:
    name, result = trained
    assert result.terms
    assert all(np.isfinite(value) for value in result.losses.values())
    reached = [key for key, grad in result.grads.items() if grad is not None]
    assert all(result.grads[key].isfinite().all() for key in reached)
    least = 1.0 if name in detector_cases.CONFIGS else 0.9
    assert len(reached) >= least * len(result.grads)
    moved = [key for key in result.grads if not torch.equal(result.before[key], result.after[key])]
    assert len(moved) > len(result.grads) // 2
    lengths = {len(value) for value in result.predictions.values()}
    assert len(lengths) == 1
    assert lengths != {0}
    assert all(np.isfinite(value).all() for value in result.predictions.values())


def test_equals_compiled_mmcv(trained, tmp_path: Path) -> None:
    """Losses, predictions and, of some, the course of a training."""
    name, result = trained
    if name not in ON_CPU:
        pytest.skip("compiled mmcv has some of its ops for CUDA only")
    oracle_python()
    torch.save({"before": result.before, "after": result.after}, tmp_path / "weights.pth")
    iterations = ITERATIONS if name in LONG else 0
    arguments = (name, tmp_path / "weights.pth", iterations, tmp_path / "result.npz")
    run_in_oracle(detector_runs.__name__, *arguments)
    with np.load(tmp_path / "result.npz") as stored:
        expected = dict(stored)
    for key, value in result.losses.items():
        assert value == pytest.approx(float(expected[f"loss/{key}"]), rel=1e-5, abs=1e-5), key
    same_predictions(
        result.predictions, {key: expected[f"pred/{key}"] for key in result.predictions}
    )
    if iterations:
        same_course(name, result.before, expected["course"])


def same_predictions(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Scores that differ by rounding may change places: pair each box with its nearest."""
    assert len(wanted["boxes"]) == len(found["boxes"])
    rows, wanted_rows = (np.column_stack(list(each.values())) for each in (found, wanted))
    nearest = np.abs(rows[:, None] - wanted_rows[None]).max(-1).argmin(1)
    assert sorted(nearest) == list(range(len(rows)))
    np.testing.assert_allclose(rows, wanted_rows[nearest], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=0, atol=1e-6)


def same_course(name: str, before: detector_runs.State, wanted: np.ndarray) -> None:
    """Fifty steps end no farther apart than those from weights that differ by rounding."""
    course = detector_runs.train(name, before, len(wanted))
    generator = torch.Generator().manual_seed(0)
    noise = []
    for _ in range(2):
        nudged = {
            key: value * (1 + 1e-7 * torch.randn(value.shape, generator=generator))
            if value.is_floating_point()
            else value
            for key, value in before.items()
        }
        noise.append(np.abs(detector_runs.train(name, nudged, len(wanted)) - course).max())
    assert course[-1] < course[0]
    assert np.abs(course - wanted).max() <= 3 * max(noise) + 1e-5 * abs(course[0])
