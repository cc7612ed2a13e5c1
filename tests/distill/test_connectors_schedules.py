# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch.nn import functional as F

from lidistill.distill.connectors import (
    MLP,
    Conv1x1,
    Conv3x3,
    Orthogonal,
    ProjectionMap,
    check_widths,
)
from lidistill.distill.schedules import Constant, Ramp, Steps, as_schedule


def test_shapes():
    assert MLP(4, 8, 6)(torch.randn(5, 4)).shape == (5, 6)
    assert Conv1x1(4, 6)(torch.randn(1, 4, 3, 5)).shape == (1, 6, 3, 5)
    assert Conv3x3(4, 6, stride=2)(torch.randn(1, 4, 8, 6)).shape == (1, 6, 4, 3)


def test_orthogonal_keeps_distances():
    rows = torch.randn(7, 4)
    out = Orthogonal(4, 9)(rows)
    torch.testing.assert_close(torch.cdist(out, out), torch.cdist(rows, rows), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="9 -> 4; use Linear"):
        Orthogonal(9, 4)


@pytest.mark.parametrize("factor", [1, 4])
def test_projection_map_has_unit_norm(factor):
    head = ProjectionMap(5, 3, upsample=factor)
    feature_map = torch.randn(2, 5, 4, 6)
    out = head(feature_map)
    assert out.shape == (2, 3, 4 * factor, 6 * factor)
    torch.testing.assert_close(out.norm(dim=1), torch.ones(2, 4 * factor, 6 * factor))
    if factor == 1:
        torch.testing.assert_close(out, F.normalize(head.project(feature_map), dim=1))


def test_unequal_widths_suggest_a_connector():
    check_widths(4, 4, "bev")
    with pytest.raises(ValueError, match=r"bev: student width 4.*in_features=4, out_features=8"):
        check_widths(4, 8, "bev")


def test_schedules():
    ramp = Ramp(1.0, 3.0, begin=0.2, until=0.6)
    assert [ramp(p) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([1, 1, 2, 3, 3])
    cosine = Ramp(0.0, 1.0, shape="cosine")
    assert cosine(0.25) == pytest.approx(0.5 - 0.5 * math.cos(math.pi / 4))
    steps = Steps([0.5, 0.8], [1.0, 0.1, 0.01])
    assert [steps(p) for p in (0.0, 0.49, 0.5, 0.9)] == [1.0, 1.0, 0.1, 0.01]
    assert as_schedule(2)(0.3) == 2.0
    assert as_schedule(ramp) is ramp
    assert Constant()(0.5) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ramp(0, 1, begin=0.6, until=0.5), "begin < until"),
        (lambda: Ramp(0, 1, shape="square"), "'linear' or 'cosine'"),
        (lambda: Steps([0.5], [1.0]), "one weight more"),
    ],
)
def test_schedule_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
