# SPDX-License-Identifier: Apache-2.0
"""Sparse convolution and pooling on the CPU, from pair tables."""
