# SPDX-License-Identifier: Apache-2.0
"""Gradients that are made by hand and have none themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark the ``backward`` of a function that is not linear: to derive its gradient is an error.

    torch's ``once_differentiable`` looks at the incoming gradient alone. That of ``f(x).sum()`` is
    a constant, so the part that comes by way of saved tensors (a penalty on gradients) was left
    out in silence. A linear function has no such part and needs torch's mark only.

    Args:
        backward: ``(ctx, *gradients)``, as of a ``torch.autograd.Function``.
    """
    marked = once_differentiable(backward)

    @wraps(backward)
    def strict(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():  # create_graph=True
            gradients = tuple(g if g is None else g.detach().requires_grad_() for g in gradients)
        return marked(ctx, *gradients)

    return strict
