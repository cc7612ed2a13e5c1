# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: our computation beside the authors' way of doing it, in one run."""
