# SPDX-License-Identifier: Apache-2.0
"""Frozen image networks that teach: ResNet, vision transformers, and a small one for the demo."""
