# SPDX-License-Identifier: Apache-2.0
"""KITTI's detection AP, on the CPU."""
