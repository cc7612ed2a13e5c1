# SPDX-License-Identifier: Apache-2.0
"""Conditions that several test files share."""

from __future__ import annotations

import pytest

from lidistill.compat import spconv_choice

NEEDS_SPCONV = pytest.mark.skipif(
    spconv_choice.look().spconv == "" or spconv_choice.answer() != "spconv",
    reason="spconv's own package does not answer here",
)
