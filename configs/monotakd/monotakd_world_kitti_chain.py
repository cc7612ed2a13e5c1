# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD whole, in one command, KITTI's layout: teacher of LiDAR, assistant, student."""

stages = [
    dict(name="teacher", config="caddn_world_kitti_teacher.py"),
    dict(name="assistant", config="caddn_world_kitti_assistant.py"),
    dict(
        name="student",
        config="monotakd_world_kitti.py",
        options={
            "model.teachers.teacher.checkpoint": "stage://teacher",
            "model.teachers.assistant.checkpoint": "stage://assistant",
        },
    ),
]
