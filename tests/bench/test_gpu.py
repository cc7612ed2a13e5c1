# SPDX-License-Identifier: Apache-2.0
"""The benches of a GPU: none without one; on the CPU, that ours and the reference agree."""

from __future__ import annotations

import pytest
import torch

from lidistill.bench import gpu


def test_nothing_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.cases("full") == []


@pytest.fixture(scope="module")
def cases():
    return {case.name: case for case in gpu.cases("quick", "cpu")}


def test_reference_and_ours_agree(cases):
    hot = [c for name, c in cases.items() if name.startswith(("gpu_local", "gpu_region"))]
    assert len(hot) == 3
    for case in hot:
        for expected, found in zip(case.reference(), case.ours(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_step_trains_in_bfloat16(cases):
    losses = [cases["gpu_slidr_step_bfloat16"].ours()["loss"].item() for _ in range(4)]
    assert losses[-1] < losses[0]
    assert cases["gpu_slidr_networks_alone"].ours().isfinite()
