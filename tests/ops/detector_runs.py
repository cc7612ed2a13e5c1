# SPDX-License-Identifier: Apache-2.0
"""A detector from given weights: losses of one batch, predictions, and a short training on it.

Used in the test's process and, as a script, by the interpreter that has compiled mmcv. It therefore
never imports lidistill. What raises an error there is stored in its words:

    python -m tests.ops.detector_runs NAME WEIGHTS.pth ITERATIONS RESULT.npz
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
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


def inputs(name: str) -> dict[str, np.ndarray]:
    """What the detector is shown: every point or pixel of the batch, one after another."""
    shown = cases_of(name).make_batch(name)["inputs"]
    return {key: np.concatenate([array.ravel() for array in shown[key]]) for key in shown}


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


def train(
    name: str, state: State, iterations: int, last_bits: bool = False
) -> dict[str, np.ndarray]:
    """So many steps on one batch, in double precision, where rounding has grown the least by
    the end: ``course``, the sum of the losses before each (iterations,), and ``end``, all weights
    behind the last. With ``last_bits`` each weight starts off by its last bit, up or down."""
    model = cases_of(name).build(name)
    set_weights(model, state)
    model.double()
    if last_bits:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                sign = torch.randint(2, weight.shape, generator=generator).to(weight) * 2 - 1
                weight.mul_(1 + torch.finfo(weight.dtype).eps * sign)
    model.data_preprocessor.register_forward_pre_hook(_in_double)
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
    return {"course": np.array(course), "end": trainable(model, model.state_dict())}


def _in_double(_: torch.nn.Module, arguments: tuple[dict, ...]) -> None:
    inputs = arguments[0]["inputs"]
    for key, arrays in inputs.items():
        inputs[key] = [array.double() for array in arrays]


def trainable(model: torch.nn.Module, state: State) -> np.ndarray:
    """Those weights of a state that a training of the model changes, one after another."""
    named = [key for key, parameter in model.named_parameters() if parameter.requires_grad]
    return torch.cat([state[key].ravel() for key in named]).numpy()


def entries(part: str, ask: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What was asked for under ``part/``, or the error under ``error/``."""
    try:
        return {f"{part}/{key}": value for key, value in ask().items()}
    except Exception:
        return {f"error/{part}": np.array(traceback.format_exc())}


def main(name: str, weights: str, iterations: str, result: str) -> None:
    """Losses with the weights ``before``, predictions with those ``after``, a training from those
    ``before``."""
    import mmcv._ext
    import spconv.pytorch.ops

    if "lidistill" in sys.modules or not (getattr(mmcv._ext, "__file__", None) or "").endswith(
        "so"
    ):
        raise RuntimeError(f"expected compiled mmcv without lidistill, found {mmcv._ext}")
    torch.set_num_threads(1)  # spconv on the CPU is wrong with more
    spconv.pytorch.ops.get_current_stream = lambda: 0  # which its backward wants on the CPU, too
    states = torch.load(weights, weights_only=True)
    arrays = entries("input", lambda: inputs(name))
    arrays |= entries("loss", lambda: losses(name, states["before"]))
    arrays |= entries("pred", lambda: predictions(name, states["after"]))
    if int(iterations):
        arrays |= entries("train", lambda: train(name, states["before"], int(iterations)))
    np.savez(result, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
