# SPDX-License-Identifier: Apache-2.0
"""Hot kernels behind pure functions; they need torch, numpy and numba only."""
