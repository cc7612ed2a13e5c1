# SPDX-License-Identifier: Apache-2.0
"""Boxes: overlap, suppression, and the points inside."""
