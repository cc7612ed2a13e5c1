# SPDX-License-Identifier: Apache-2.0
"""What `lidistill evidence` trains per seed: two image teachers, SLidR, its controls, its kin."""

from_labels = {"model.teacher.checkpoint": "stage://labelled_teacher"}  # the upper reference

stages = [
    dict(name="image_teacher", config="demo_teacher.py"),
    dict(name="labelled_teacher", config="evidence_teacher_labels.py"),
    dict(name="pretrain", config="demo_pretrain.py"),
    dict(name="permuted", config="demo_permuted.py"),
    dict(name="noise", config="demo_pretrain.py", options={"model.noise_targets": True}),
    dict(name="from_colour", config="evidence_from_colour.py"),
    dict(name="from_labels", config="demo_pretrain.py", options=from_labels),
    dict(name="ppkt", config="../ppkt/demo_pretrain.py"),
    dict(name="ppkt_from_labels", config="../ppkt/demo_pretrain.py", options=from_labels),
    dict(name="stslidr", config="../stslidr/demo_pretrain.py"),
    dict(name="stslidr_from_labels", config="../stslidr/demo_pretrain.py", options=from_labels),
    dict(name="scalr", config="../scalr/demo_pretrain.py"),
    dict(name="scalr_from_labels", config="../scalr/demo_pretrain.py", options=from_labels),
]
