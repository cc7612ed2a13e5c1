# SPDX-License-Identifier: Apache-2.0
"""Frames, projections, pairs, boxes and grids: the only home of coordinate conventions."""
