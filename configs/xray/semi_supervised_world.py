# SPDX-License-Identifier: Apache-2.0
"""X-Ray with the labels of a tenth of the scenes, in one command, embedded world.

A detector of the labelled scenes finds boxes in the others; their tracks complete the objects; a
teacher of complete frames with labels labels the complete frames without; the student learns from
both on ordinary frames.
"""

few = {"train_dataloader.dataset.scenes": 1}
bank = {"train_dataloader.dataset.dataset.pipeline.1.bank": "stage://bank"}
stages = [
    dict(name="detector", config="../detection/centerpoint_pillar_world.py", options=few),
    dict(
        name="bank",
        config="tracked_bank_world.py",
        options={"tool.checkpoint": "stage://detector"},
    ),
    dict(
        name="teacher",
        config="centerpoint_pillar_world_teacher.py",
        options={**few, **bank},
    ),
    dict(
        name="student",
        config="centerpoint_pillar_world_semi.py",
        options={**bank, "model.teacher.checkpoint": "stage://teacher"},
    ),
]
