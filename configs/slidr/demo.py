# SPDX-License-Identifier: Apache-2.0
"""The demo: an image teacher trained without labels, SLidR from it, and the negative control."""

stages = [
    dict(name="image_teacher", config="demo_teacher.py"),
    dict(name="pretrain", config="demo_pretrain.py"),
    dict(name="permuted", config="demo_permuted.py"),
]
