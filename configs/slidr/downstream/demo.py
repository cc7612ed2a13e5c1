# SPDX-License-Identifier: Apache-2.0
"""Pretraining, then fine-tuning with one labelled scene, and its twin from random weights."""

one_scene = {"train_dataloader.dataset.scenes": 1}

stages = [
    dict(name="image_teacher", config="../demo_teacher.py"),
    dict(name="pretrain", config="../demo_pretrain.py"),
    dict(name="finetune", config="demo_finetune.py", options=one_scene),
    dict(
        name="finetune_scratch",
        config="demo_finetune.py",
        options={**one_scene, "model.checkpoint": None},
    ),
]
