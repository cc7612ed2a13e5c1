# SPDX-License-Identifier: Apache-2.0
"""Unmodified mmdet3d detectors train and predict over the bridges, as with compiled mmcv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill import compat
from tests.ops import detector_cases
from tests.ops.oracle import oracle_python, run_in_oracle

pytestmark = pytest.mark.slow


class Trained:
    """A detector before and after one step, its losses and its predictions."""

    def __init__(self, name: str) -> None:
        compat.apply()
        model = detector_cases.build(name)
        self.before = {key: value.clone() for key, value in model.state_dict().items()}
        self.losses = detector_cases.train_step(model, name)
        self.grads = {key: value.grad for key, value in model.named_parameters()}
        self.after = {key: value.clone() for key, value in model.state_dict().items()}
        self.predictions = detector_cases.predictions(model, name)


@pytest.fixture(scope="module", params=list(detector_cases.CONFIGS))
def trained(request: pytest.FixtureRequest) -> tuple[str, Trained]:
    return request.param, Trained(request.param)


def test_trains_and_predicts(trained) -> None:
    _, result = trained
    assert all(np.isfinite(value) for value in result.losses.values())
    unused = [
        key for key, grad in result.grads.items() if grad is None or not grad.isfinite().all()
    ]
    assert not unused
    moved = [key for key in result.grads if not torch.equal(result.before[key], result.after[key])]
    assert len(moved) > len(result.grads) // 2
    boxes, scores = result.predictions["boxes"], result.predictions["scores"]
    assert 0 < len(boxes) == len(scores)
    assert np.isfinite(boxes).all()


def test_equals_compiled_mmcv(trained, tmp_path: Path) -> None:
    name, result = trained
    if name == "pointrcnn":
        pytest.skip("compiled mmcv has PointRCNN's point ops for CUDA only")
    oracle_python()
    torch.save({"before": result.before, "after": result.after}, tmp_path / "weights.pth")
    script = Path(detector_cases.__file__)
    run_in_oracle(script, name, tmp_path / "weights.pth", tmp_path / "result.npz")
    with np.load(tmp_path / "result.npz") as stored:
        expected = dict(stored)
    for key, value in result.losses.items():
        assert value == pytest.approx(float(expected[f"loss/{key}"]), rel=1e-5, abs=1e-5)
    wanted = {key: expected[f"pred/{key}"] for key in result.predictions}
    assert len(wanted["boxes"]) == len(result.predictions["boxes"])
    # Scores that differ by rounding may change places: pair each box with its nearest.
    rows, wanted_rows = (
        np.column_stack(list(found.values())) for found in (result.predictions, wanted)
    )
    nearest = np.abs(rows[:, None] - wanted_rows[None]).max(-1).argmin(1)
    assert sorted(nearest) == list(range(len(rows)))
    np.testing.assert_allclose(rows, wanted_rows[nearest], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.predictions["scores"], wanted["scores"], rtol=0, atol=1e-6)
