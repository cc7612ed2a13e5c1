# SPDX-License-Identifier: Apache-2.0
"""What `lidistill evidence slidr` trains per seed: the demo's stages, and two more teachers."""

stages = [
    dict(name="image_teacher", config="demo_teacher.py"),
    dict(name="labelled_teacher", config="evidence_teacher_labels.py"),
    dict(name="pretrain", config="demo_pretrain.py"),
    dict(name="permuted", config="demo_permuted.py"),
    dict(name="from_labels", config="evidence_from_labels.py"),
    dict(name="from_colour", config="evidence_from_colour.py"),
]
