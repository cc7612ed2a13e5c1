# SPDX-License-Identifier: Apache-2.0
"""Mean Teacher with pseudo labels, what X-Ray's semi-supervised form is compared with.

First a detector of the labelled scenes, which is what the student begins as.
"""

few = {"train_dataloader.dataset.scenes": 1}
stages = [
    dict(name="detector", config="../detection/centerpoint_pillar_world.py", options=few),
    dict(name="student", config="mean_teacher_world_student.py"),
]
