# SPDX-License-Identifier: Apache-2.0
"""Teacher, assistant, student (TAKD, https://arxiv.org/abs/1902.03393), embedded world.

One more assistant is one more stage: what it learns from, its own size, and how the connector of
the neck joins the two (three levels of 32 channels times the factor).
"""

from lidistill.models.detectors.compress import compressed_detector

assistant = dict(encoder=0.75, backbone=0.75, head=0.75)
stages = [
    dict(name="teacher", config="../detection/pointpillars_world.py"),
    dict(
        name="assistant",
        config="pointpillars_world.py",
        options={
            "model.teachers.teacher.checkpoint": "stage://teacher",
            "model.student": assistant,
            "model.terms.neck.connector.in_channels": 72,
        },
    ),
    dict(
        name="student",
        config="pointpillars_world.py",
        options={
            "model.teachers.teacher.checkpoint": "stage://assistant",
            "model.teachers.teacher.model": dict(assistant, type=compressed_detector),
            "model.terms.neck.connector.out_channels": 72,
        },
    ),
]
