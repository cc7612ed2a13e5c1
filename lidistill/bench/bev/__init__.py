# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of bird's-eye-view detectors and their distillation."""
