# SPDX-License-Identifier: Apache-2.0
"""Made-up batches have points of the width that the pipeline gives."""

from __future__ import annotations

from lidistill.engine.synthetic import point_numbers


def test_numbers_of_a_point():
    steps = [dict(load_dim=5, use_dim=5), dict(load_dim=5, use_dim=[0, 1, 2, 4])]
    assert point_numbers(dict(pipeline=steps)) == 5
    assert point_numbers(dict(pipeline=steps[1:])) == 4
