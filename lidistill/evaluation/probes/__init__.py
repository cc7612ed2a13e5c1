# SPDX-License-Identifier: Apache-2.0
"""Probes of frozen features, and what they read."""
