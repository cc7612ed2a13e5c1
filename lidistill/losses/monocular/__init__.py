# SPDX-License-Identifier: Apache-2.0
"""Losses of detectors that see one image: depth, bird's-eye view, response of anchors."""
