# SPDX-License-Identifier: Apache-2.0
"""Segments: reductions over rows or pixels that share an id, and what makes the ids."""
