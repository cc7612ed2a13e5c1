# SPDX-License-Identifier: Apache-2.0
"""Detection transfer on the embedded world: teacher, pretraining, CenterPoint with it and without.

`lidistill train` runs the four; `lidistill test` scores a detector.
"""

stages = [
    dict(name="image_teacher", config="demo_teacher.py"),
    dict(name="pretrain", config="centerpoint_world_pretrain.py"),
    dict(name="finetune", config="downstream/centerpoint_world.py"),
    dict(name="scratch", config="downstream/centerpoint_world_scratch.py"),
]
