# SPDX-License-Identifier: Apache-2.0
"""Frames whose objects are completed from a bank when they are loaded."""
