# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's other detectors and segmentors train and predict without compiled mmcv, on the CPU."""

from __future__ import annotations

import pytest
import torch

from lidistill import compat
from tests.ops import more_detectors as cases

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", list(cases.CONFIGS))
def test_trains_and_predicts(name) -> None:
    compat.apply()
    model = cases.build(name)
    values = cases.losses(model, name)
    terms = [value for key, value in values.items() if "loss" in key]
    assert terms
    total = sum(terms)
    assert torch.isfinite(total)
    total.backward()
    grads = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    reached = [key for key, grad in grads.items() if grad is not None]
    assert len(reached) > 0.9 * len(grads)
    assert all(grads[key].isfinite().all() for key in reached)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    found = cases.predictions(model, name)
    lengths = {len(value) for value in found.values()}
    assert len(lengths) == 1
    assert lengths != {0}
    assert all(value.float().isfinite().all() for value in found.values())
