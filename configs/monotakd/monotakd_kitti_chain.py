# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD on KITTI in one command: the detector of ``caddn_kitti`` with LiDAR, with true depth."""

stages = [
    dict(name="teacher", config="caddn_kitti.py", options={"model.sensors": ("lidar",)}),
    dict(
        name="assistant",
        config="caddn_kitti.py",
        options={
            "model.camera.view_transform.true_depth": True,
            "model.camera.view_transform.depth_weight": 0.0,
        },
    ),
    dict(
        name="student",
        config="monotakd_kitti.py",
        options={
            "model.teachers.teacher.checkpoint": "stage://teacher",
            "model.teachers.assistant.checkpoint": "stage://assistant",
        },
    ),
]
