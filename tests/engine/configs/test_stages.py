# SPDX-License-Identifier: Apache-2.0
"""Options of stages."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from lidistill.engine.configs.stages import info_files, load_stage

CONFIG = Path(__file__).parents[1] / "toy_config.py"


def test_a_slip_in_a_stages_options_is_refused():
    """It was a key more, which nothing read."""
    stage = dict(name="short", config=CONFIG.name, options={"train_cfg.max_iters": 3})
    assert load_stage(CONFIG, stage)[1].train_cfg.max_iters == 3
    for slip in ("train_cfg.max_iter", "train_dataloder.batch_size"):
        with pytest.raises(ValueError, match=rf"stage 'short': option '{slip}' is no key here"):
            load_stage(CONFIG, {**stage, "options": {slip: 3}})


def test_info_files_are_told_by_their_content(tmp_path):
    path = tmp_path / "train.pkl"
    path.write_bytes(b"labels")
    inner = dict(ann_file="train.pkl", data_root=str(tmp_path))
    loader = dict(dataset=dict(type="SeededDetections", dataset=inner))
    cfg = Config(dict(train_dataloader=loader, val_dataloader=dict(dataset=inner)))
    before = info_files(cfg)
    assert list(before) == [f"info file {path}"]
    path.write_bytes(b"mended")
    assert list(info_files(cfg).values()) != list(before.values())
    path.unlink()
    assert info_files(cfg) == {}
