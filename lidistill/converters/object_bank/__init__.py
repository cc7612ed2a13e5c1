# SPDX-License-Identifier: Apache-2.0
"""The object-complete bank: the points of each object from all frames of its scene."""
