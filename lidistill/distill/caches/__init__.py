# SPDX-License-Identifier: Apache-2.0
"""Frozen teachers' outputs on disk, replayed through a sample's augmentation."""
