# SPDX-License-Identifier: Apache-2.0
"""The twin of second_kitti without pretraining; all else is the same."""

from mmengine.config import read_base

with read_base():
    from .second_kitti import *

custom_hooks = [*custom_hooks[:-1]]
