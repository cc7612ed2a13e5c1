# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD whole, in one command: teacher of LiDAR, true-depth assistant, student of cameras."""

stages = [
    dict(name="teacher", config="../detection/bev_lidar_world.py"),
    dict(name="assistant", config="bevdepth_world_assistant.py"),
    dict(
        name="student",
        config="bevdepth_world.py",
        options={
            "model.teachers.teacher.checkpoint": "stage://teacher",
            "model.teachers.assistant.checkpoint": "stage://assistant",
        },
    ),
]
