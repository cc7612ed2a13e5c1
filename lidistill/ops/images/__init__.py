# SPDX-License-Identifier: Apache-2.0
"""Reading feature maps between their pixels: regions, deformed kernels."""
