# SPDX-License-Identifier: Apache-2.0
"""``lidistill dry_run`` on every config of the project, each stage of the staged ones."""

from __future__ import annotations

import pytest

from lidistill.engine.configs.read import load_config
from lidistill.engine.configs.stages import stage_names
from lidistill.engine.dry_run import dry_run
from tests.conftest import project_configs

CONFIGS = [path for path in project_configs("**/*.py") if path.parent.name != "_base_"]
QUICK = ("demo_pretrain", "sparsekd_world")


def stages() -> list:
    cases = []
    for path in CONFIGS:
        marks = [] if path.stem in QUICK and path.parent.name != "stslidr" else [pytest.mark.slow]
        for stage in stage_names(load_config(path)) or [None]:
            name = f"{path.parent.name}/{path.stem}" + (f":{stage}" if stage else "")
            cases.append(pytest.param(path, stage, id=name, marks=marks))
    return cases


@pytest.mark.parametrize(("path", "stage"), stages())
def test_dry_run(path, stage, tmp_path, monkeypatch):
    made = dict(synthetic=1000, random_teachers=True, repeats=1, stage=stage)
    try:
        text = dry_run(path, **made)
    except FileNotFoundError as error:
        if "dinov2" in str(error):  # folders of transformers, which nothing stands for
            return
        raise
    assert "dry run of" in text
    assert "student's latency" in text
