# SPDX-License-Identifier: Apache-2.0
"""Detectors of mmdet3d, unmodified, built from its configs."""
