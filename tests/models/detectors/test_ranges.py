# SPDX-License-Identifier: Apache-2.0
"""Ranges of the data pipeline beside those of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidistill.engine.configs.read import load_config
from lidistill.engine.configs.stages import choose_stage
from lidistill.models.detectors.ranges import check_ranges, student_grid

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
OTHER = (0.0, -20.48, -3.0, 40.96, 23.04, 1.0)


@pytest.mark.parametrize(
    "name",
    [
        *("detection/pointpillars_world", "detection/second_kitti", "detection/pointrcnn_world"),
        *("detection/centerpoint_voxel_nuscenes", "pointdistiller/pointpillars_kitti_16x"),
        *("feature_kd/two_teachers_world", "slidr/downstream/centerpoint_world"),
        *("slidr/secondencoder_r50_nuscenes", "slidr/pointpillars_r50_nuscenes"),
        *("slidr/minkunet_r50_nuscenes", "slidr/centerpointvoxel_world_pretrain"),
    ],
)
def test_configs_agree_with_themselves(name):
    path = CONFIGS / f"{name}.py"
    _, cfg = choose_stage(path, load_config(path), None, None)
    check_ranges(cfg)


def test_a_model_on_another_range_names_the_options():
    path = CONFIGS / "detection" / "pointpillars_world.py"
    cfg = load_config(path, [f"model.point_range={OTHER}"])
    with pytest.raises(ValueError, match="must agree; set one of the two") as caught:
        check_ranges(cfg)
    options = str(caught.value).split("--cfg-options ")[1].replace('"', "").split()
    assert len(options) == 3
    check_ranges(load_config(path, [f"model.point_range={OTHER}", *options]))


def test_the_student_counts_not_its_teacher():
    path = CONFIGS / "pointdistiller" / "pointpillars_world.py"
    check_ranges(load_config(path, [f"model.teacher.model.point_range={OTHER}"]))
    with pytest.raises(ValueError, match="the model's point range is"):
        check_ranges(load_config(path, [f"model.student.point_range={OTHER}"]))


def test_voxels_beside_a_part_of_a_detector():
    """As many cells at another place were no error before."""
    path = CONFIGS / "slidr" / "secondencoder_r50_nuscenes.py"
    cfg = load_config(path)
    assert student_grid(cfg.model.student)[1] == [0.1, 0.1, 0.2]
    part = "model.student.encoder.encoder.detector"
    moved = [f"{part}.point_range=(-51.2,-51.2,-3,51.2,51.2,5)"]
    with pytest.raises(ValueError, match=r"voxels\.point_range is .* the detector's is"):
        check_ranges(load_config(path, moved))
    finer = [f"{part}.voxel_size=(0.1,0.2,0.2)"]
    with pytest.raises(ValueError, match=r"voxels\.size is .* the detector's is"):
        check_ranges(load_config(path, finer))


def test_pipelines_of_a_detector_without_range_agree_with_each_other():
    path = CONFIGS / "detection" / "pointrcnn_world.py"
    cfg = load_config(path)
    cfg.test_dataloader.dataset.pipeline[2]["point_cloud_range"] = OTHER
    with pytest.raises(ValueError, match=r"that of train_dataloader.*must agree"):
        check_ranges(cfg)
