# SPDX-License-Identifier: Apache-2.0
"""Heads of students and teachers."""
