# SPDX-License-Identifier: Apache-2.0
"""Unmodified mmdet3d detectors train and predict over the bridges, as with compiled mmcv."""

from __future__ import annotations

import re
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
SENSITIVE = ("fcos3d",)  # rounding grows over fifty steps in double precision, too
# Of the others what compiled mmcv or mmdet3d stops at without CUDA.
REFUSED = {
    **dict.fromkeys(("pointrcnn", "pvrcnn", "votenet", "3dssd", "paconv"), "furthest_point_sample"),
    "parta2": "points_in_boxes_part|roiaware_pool3d",
    "cylinder3d": "dynamic_point_to_voxel_forward_impl: implementation for device cpu not found",
    "minkunet": "Torch not compiled with CUDA enabled",  # mmdet3d's .cuda(); no op of mmcv
    **dict.fromkeys(more_detectors.ON_TORCHSPARSE, "install Torchsparse"),
}
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


def compiled(
    name: str, result: Trained, folder: Path, iterations: int = 0
) -> dict[str, np.ndarray]:
    """What `detector_runs` stores over compiled mmcv."""
    oracle_python()
    torch.save({"before": result.before, "after": result.after}, folder / "weights.pth")
    arguments = (name, folder / "weights.pth", iterations, folder / "result.npz")
    run_in_oracle(detector_runs.__name__, *arguments)
    with np.load(folder / "result.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("trained", ON_CPU, indirect=True)
def test_equals_compiled_mmcv(trained, tmp_path: Path, record_property) -> None:
    """Inputs, losses and predictions; ``--junitxml`` keeps how far they are apart."""
    name, result = trained
    expected = compiled(name, result, tmp_path)
    assert not [str(value) for key, value in expected.items() if key.startswith("error/")]
    for key, value in detector_runs.inputs(name).items():
        np.testing.assert_array_equal(value, expected[f"input/{key}"])
    for key, value in result.losses.items():
        wanted = float(expected[f"loss/{key}"])
        record_property(key, abs(value - wanted) / max(abs(wanted), 1e-12))
        assert value == pytest.approx(wanted, rel=1e-5, abs=1e-7), key
    wanted = {key: expected[f"pred/{key}"] for key in result.predictions}
    for key, value in pairs_apart(result.predictions, wanted).items():
        record_property(key, value)
        assert value <= 1e-5, key


@pytest.mark.parametrize("trained", LONG, indirect=True)
def test_trains_as_over_compiled_mmcv(trained, tmp_path: Path, record_property) -> None:
    """Fifty steps go the same way and end at the same weights.

    In double precision: in single, a start that is off by its last bit ends somewhere else, too.
    Apart are the losses, relative to the first, and the weights, relative to the way they went.
    A detector whose steps make rounding grow in double, too, is as near as a training of ours that
    starts off by its last bits, within a factor of two.
    """
    name, result = trained
    expected = compiled(name, result, tmp_path, ITERATIONS)
    assert not [str(value) for key, value in expected.items() if key.startswith("error/")]
    ours = detector_runs.train(name, result.before, ITERATIONS)
    start = detector_runs.trainable(detector_runs.cases_of(name).build(name), result.before)

    def apart(course: np.ndarray, end: np.ndarray) -> dict[str, float]:
        losses = np.abs(course - ours["course"]) / ours["course"][0]
        weights = np.linalg.norm(end - ours["end"]) / np.linalg.norm(ours["end"] - start)
        return {"course": losses.max(), "last": losses[-1], "weights": weights}

    found = apart(expected["train/course"], expected["train/end"])
    bounds = dict.fromkeys(found, 1e-6)
    if name in SENSITIVE:
        nudged = apart(**detector_runs.train(name, result.before, ITERATIONS, last_bits=True))
        bounds = {key: 2 * value for key, value in nudged.items()}
    for key, value in found.items():
        record_property(key, float(value))
        record_property(f"{key}, bound", float(bounds[key]))
    assert ours["course"][-1] < ours["course"][0]
    for key, value in found.items():
        assert value <= bounds[key], key


@pytest.mark.parametrize("trained", REFUSED, indirect=True)
def test_compiled_mmcv_has_no_cpu_form(trained, tmp_path: Path) -> None:
    """Why nothing stands beside the others: neither losses nor predictions there."""
    name, result = trained
    answers = compiled(name, result, tmp_path)
    for part in ("loss", "pred"):
        assert re.search(REFUSED[name], str(answers[f"error/{part}"]))


def pairs_apart(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> dict[str, float]:
    """How far each box, score and label is from that of the other side, relative above one.

    Scores that differ by rounding may change places: each box is paired with its nearest.
    """
    assert len(wanted["boxes"]) == len(found["boxes"])
    rows, wanted_rows = (np.column_stack(list(each.values())) for each in (found, wanted))
    nearest = np.abs(rows[:, None] - wanted_rows[None]).max(-1).argmin(1)
    assert sorted(nearest) == list(range(len(rows)))
    pairs = {key: (value, wanted[key][nearest]) for key, value in found.items()}
    pairs["order"] = (found["scores"], wanted["scores"])
    return {
        key: float((np.abs(a - b) / np.maximum(np.abs(b), 1)).max())
        for key, (a, b) in pairs.items()
    }
