# SPDX-License-Identifier: Apache-2.0
"""Benches of KITTI and of detectors that see one image."""
