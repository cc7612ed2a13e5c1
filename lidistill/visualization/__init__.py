# SPDX-License-Identifier: Apache-2.0
"""Visualization: superpixel overlays, bird's-eye pictures, feature colours, curves, the report."""
