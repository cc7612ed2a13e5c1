# SPDX-License-Identifier: Apache-2.0
"""Born again (https://arxiv.org/abs/1805.04770): each generation teaches the next, of its own size.

The first is a plain detector; one more generation is one more stage.
"""

same_size = {
    "model.student": dict(encoder=1.0, backbone=1.0, head=1.0),
    "model.terms.neck.connector.in_channels": 96,
}
teacher = "model.teachers.teacher.checkpoint"
stages = [
    dict(name="generation1", config="../detection/pointpillars_world.py"),
    dict(
        name="generation2",
        config="pointpillars_world.py",
        options={**same_size, teacher: "stage://generation1"},
    ),
    dict(
        name="generation3",
        config="pointpillars_world.py",
        options={**same_size, teacher: "stage://generation2"},
    ),
]
