# SPDX-License-Identifier: Apache-2.0
"""The twin of centerpoint_world without pretraining; all else is the same."""

from mmengine.config import read_base

with read_base():
    from .centerpoint_world import *

custom_hooks = [*custom_hooks[:-1]]
