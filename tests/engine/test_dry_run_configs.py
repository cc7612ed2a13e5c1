# SPDX-License-Identifier: Apache-2.0
"""``lidistill dry_run`` on configs of the project, each stage of the staged ones.

All take half an hour of one core, so that one or two of each kind run unless
``LIDISTILL_PAPER_SIZES=all``.
"""

from __future__ import annotations

import os

import pytest

from lidistill.engine.configs.read import load_config
from lidistill.engine.configs.stages import stage_names
from lidistill.engine.dry_run import dry_run
from tests.conftest import project_configs

CONFIGS = [path for path in project_configs("**/*.py") if path.parent.name != "_base_"]
QUICK = ("ppkt/demo_pretrain", "slidr/demo_pretrain", "feature_kd/sparsekd_world")
SLOW = (
    "detection/centerpoint_pillar_nuscenes",
    "detection/second_world",
    "evidence/centerpoint_transfer",
    "feature_kd/bevdistill_world",
    "feature_kd/distillbev_world",
    "feature_kd/tigbev_world",
    "feature_kd/two_teachers_world",
    "pointdistiller/pointrcnn_world",
    "scalr/demo_pretrain",
    "slidr/demo_teacher",
    "unidistill/lidar_to_camera_world",
    "monotakd/bevdepth_world",
    "downstream/minkunet_semantickitti",
    "slidr/real_pretrain",
)
ALL = os.environ.get("LIDISTILL_PAPER_SIZES") == "all"


def stages() -> list:
    cases = []
    for path in CONFIGS:
        name = f"{path.parent.name}/{path.stem}"
        if not ALL and name not in (*QUICK, *SLOW):
            continue
        marks = [] if name in QUICK else [pytest.mark.slow]
        for stage in stage_names(load_config(path)) or [None]:
            case = name + (f":{stage}" if stage else "")
            cases.append(pytest.param(path, stage, id=case, marks=marks))
    return cases


@pytest.mark.parametrize(("path", "stage"), stages())
def test_dry_run(path, stage, tmp_path, monkeypatch):
    made = dict(synthetic=5000, random_teachers=True, repeats=1, stage=stage)
    try:
        text = dry_run(path, **made)
    except FileNotFoundError as error:
        if "dinov2" in str(error):  # folders of transformers, which nothing stands for
            return
        raise
    assert "dry run of" in text
    assert "student's latency" in text
