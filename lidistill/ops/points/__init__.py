# SPDX-License-Identifier: Apache-2.0
"""Points: into voxels, out of them, sampled and grouped."""
