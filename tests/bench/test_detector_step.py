# SPDX-License-Identifier: Apache-2.0
"""The bench of detectors' steps: its reference is mmdet3d's own layer, and computes the same."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("mmdet3d")

from lidistill.bench import detector_step
from lidistill.compat import pillars


def test_reference_leaves_the_bridge_out_and_nothing_else(monkeypatch):
    calls = []
    highest = pillars._highest

    def counted(*args):
        calls.append(len(args[3]))
        return highest(*args)

    monkeypatch.setattr(pillars, "_highest", counted)
    (case,) = detector_step.cases("quick")
    losses = [case.reference()]
    assert not calls
    losses.append(case.ours())
    assert len(calls) == 1
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.isfinite(value) for one in losses for value in one.values())


def test_setting_is_put_back_after_an_error():
    from mmdet3d.models.voxel_encoders.utils import PFNLayer

    before = PFNLayer.forward
    with pytest.raises(KeyError, match="x"), detector_step.without_bridges():
        raise KeyError("x")
    assert PFNLayer.forward is before
