# SPDX-License-Identifier: Apache-2.0
"""Sparse networks on voxels: the students."""
