# SPDX-License-Identifier: Apache-2.0
"""Blocks on bird's-eye-view maps, named as in published weights."""
