# SPDX-License-Identifier: Apache-2.0
"""Samples of cameras and LiDAR for bird's-eye-view detectors, as mmdet3d's pipelines pass them."""
