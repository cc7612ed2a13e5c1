# SPDX-License-Identifier: Apache-2.0
"""Samples as a model sees them, and their transforms."""
