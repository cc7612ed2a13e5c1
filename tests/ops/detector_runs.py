# SPDX-License-Identifier: Apache-2.0
"""A detector from given weights: losses of one batch, predictions, and a short training on it.

Used in the test's process and, as a script, by the interpreter that has compiled mmcv. It therefore
never imports lidistill:

    python -m tests.ops.detector_runs NAME WEIGHTS.pth ITERATIONS RESULT.npz
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from tests.ops import detector_cases, more_detectors

State = dict[str, torch.Tensor]


def cases_of(name: str) -> Any:
    """The module that builds this detector and its batch."""
    return detector_cases if name in detector_cases.CONFIGS else more_detectors


def set_weights(model: torch.nn.Module, state: State) -> None:
    """Copy entry by entry: mmdet3d's own loading turns the axes of weights without a version."""
    targets = model.state_dict()
    if targets.keys() != state.keys():
        raise ValueError(f"different weights: {targets.keys() ^ state.keys()}")
    for key, target in targets.items():
        target.copy_(state[key])


def losses(name: str, state: State) -> dict[str, np.ndarray]:
    """Each loss of one batch, with these weights."""
    model = cases_of(name).build(name)
    set_weights(model, state)
    with torch.no_grad():
        values = cases_of(name).losses(model, name)
    return {key: value.numpy() for key, value in values.items()}


def predictions(name: str, state: State) -> dict[str, np.ndarray]:
    """Boxes, scores and labels of one sample, with these weights."""
    model = cases_of(name).build(name)
    set_weights(model, state)
    found = cases_of(name).predictions(model, name)
    return {key: np.asarray(value) for key, value in found.items()}


def train(name: str, state: State, iterations: int) -> np.ndarray:
    """Sum of the losses before each of so many steps on one batch (iterations,)."""
    model = cases_of(name).build(name)
    set_weights(model, state)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    course = []
    for _ in range(iterations):
        values = cases_of(name).losses(model, name)
        total = sum(value for key, value in values.items() if "loss" in key)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        course.append(float(total.detach()))
    return np.array(course)


def main(name: str, weights: str, iterations: str, result: str) -> None:
    """Losses with the weights ``before``, predictions with those ``after``, a training from those
    ``before``."""
    import spconv.pytorch.ops

    torch.set_num_threads(1)  # spconv on the CPU is wrong with more
    spconv.pytorch.ops.get_current_stream = lambda: 0  # which its backward wants on the CPU, too
    states = torch.load(weights, weights_only=True)
    arrays = {f"loss/{key}": value for key, value in losses(name, states["before"]).items()}
    found = predictions(name, states["after"])
    arrays |= {f"pred/{key}": value for key, value in found.items()}
    np.savez(result, **arrays, course=train(name, states["before"], int(iterations)))


if __name__ == "__main__":
    main(*sys.argv[1:])
