# SPDX-License-Identifier: Apache-2.0
"""What tests of the GPU share: the mark, the device, and comparisons with the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

DEVICE = "cuda"
MARKS = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
"""``pytestmark`` of a module whose tests need a GPU."""


@pytest.fixture(autouse=True)
def exact_float32():
    """Convolutions on the GPU in float32, not in TensorFloat32; import it to use it."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def moved(value: Any, device: str) -> Any:
    """Tensors in lists, tuples and dictionaries, and all that has a ``to``, on a device."""
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(moved(item, device) for item in value)
    return value.to(device) if hasattr(value, "to") else value


def same_on_both(function: Callable[..., Any], *arguments: Any, tolerance: float = 1e-5) -> None:
    """Values of a function, and gradients of its inputs that ask for them, on both devices."""
    found = []
    for device in ("cpu", DEVICE):
        here = [moved(argument, device) for argument in arguments]
        leaves = [a for a in here if isinstance(a, torch.Tensor) and a.is_floating_point()]
        leaves = [leaf.detach().clone().requires_grad_(leaf.requires_grad) for leaf in leaves]
        rest = iter(leaves)
        here = [
            next(rest) if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in here
        ]
        out = function(*here)
        out = list(out) if isinstance(out, list | tuple) else [out]
        assert all(part.device.type == torch.device(device).type for part in out)
        total = sum((part * weights_like(part)).sum() for part in out if part.requires_grad)
        if isinstance(total, torch.Tensor):
            total.backward()
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
        assert len(gradients) == sum(leaf.requires_grad for leaf in leaves)
        found.append([part.detach().cpu() for part in [*out, *gradients]])
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def weights_like(values: torch.Tensor) -> torch.Tensor:
    """Fixed numbers, the same on every device, that make a scalar of a tensor."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.rand(values.shape, generator=random, dtype=torch.float64)
    return (drawn + 0.5).to(values)


def step_on(model: Any, batch: Any, device: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Losses of one training step of an mmengine model, and gradients by parameter's name."""
    model = copy.deepcopy(model).to(device)
    torch.manual_seed(0)
    losses = model.train_step(batch, Backward())
    gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
    return {name: float(value) for name, value in losses.items()}, gradients


def same_steps(model: Any, batch: Any, tolerance: float = 1e-3) -> None:
    """A training step on both devices: losses, and each parameter's gradient as a whole.

    With smooth activations: rounding turns a ReLU near zero, and behind many layers that moves a
    gradient by per cents (weights off by 1e-6 do so on the CPU alone).
    """
    with smooth_activations():
        (expected, wanted), (found, got) = (step_on(model, batch, d) for d in ("cpu", DEVICE))
    assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert wanted.keys() == got.keys()
    largest = max(float(gradient.norm()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        gap = float((got[name] - gradient).norm())
        # a maximum at a tie may go the other way, so gradients are compared as a whole
        allowed = 10 * tolerance * float(gradient.norm()) + 1e-4 * largest
        assert gap <= allowed, f"{name}: off by {gap:.2e} of {float(gradient.norm()):.2e}"


@contextmanager
def smooth_activations() -> Iterator[None]:
    """Networks get SiLU for ReLU; ``Tensor.relu`` stays, as compiled kernels know no other."""
    silu = torch.nn.functional.silu
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "relu", lambda x, inplace=False: silu(x))
        yield


class Backward:
    """Stands for mmengine's optimizer wrapper: gradients, and no step."""

    def optim_context(self, _model: Any) -> Any:
        """Nothing special."""
        return torch.enable_grad()

    def update_params(self, loss: torch.Tensor) -> None:
        """Backward alone."""
        loss.backward()
