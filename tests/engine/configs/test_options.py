# SPDX-License-Identifier: Apache-2.0
"""A mistyped option is refused with near names; what a class would take is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidistill import cli
from lidistill.engine.configs.options import parse_options
from lidistill.engine.configs.read import load_config

ROOT = Path(__file__).resolve().parents[3]
TOY = ROOT / "tests/engine/toy_config.py"
SLIDR = ROOT / "configs/slidr/minkunet_r50_nuscenes.py"
KITTI = ROOT / "configs/detection/pointpillars_world.py"


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("model.temprature=0.1", "model.temperature"),
        ("modl.temperature=0.1", "did you mean model?"),
        ("train_dataloader.batchsize=2", "train_dataloader.batch_size"),
        ("train_cfg.max_iter=3", "train_cfg.max_iters"),
        ("optim_wrapper.optimizer.learning=1", "has .*lr"),
        ("optim_wrapper.optimizer.momentun=1", "optim_wrapper.optimizer.momentum"),
        ("default_hooks.checkpoints.interval=3", "default_hooks.checkpoint"),
        ("default_hooks.checkpoint.intervall=3", "default_hooks.checkpoint.interval"),
        ("custom_hooks.99.interval=3", "a list of 4; expected a number from 0 to 3"),
        ("max_iters.value=3", "has no keys; give it as a whole"),
        ("nonsense=1", "the config has"),
        ("model=student", "expected model.NAME=VALUE, or a dictionary as a whole, got 'student'"),
        ("train_dataloader=[1]", "train_dataloader has .*batch_size"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(option, near):
    with pytest.raises(ValueError, match=near) as caught:
        load_config(SLIDR, [option])
    assert repr(option.split("=")[0]) in str(caught.value)


@pytest.mark.parametrize(
    "option",
    [
        "model.temperature=0.1",
        "model.teacher.model.stride=8",  # an argument that the config leaves at its default
        "model.weights={'infonce': 2}",
        "load_from='x.pth'",
        "randomness.deterministic=True",
        "train_dataloader.prefetch_factor=2",
        "optim_wrapper.clip_grad={'max_norm': 10}",
        "optim_wrapper.accumulative_counts=2",
        "optim_wrapper.optimizer.nesterov=True",
        "custom_hooks.0.priority='LOW'",
        "default_hooks.checkpoint.keep=-1",  # of the class, not of its parent
        "default_hooks.checkpoint.save_optimizer=False",  # handed on to the parent
        "monitor={'interval': 5}",
        "test_cfg.settings={}",
    ],
)
def test_what_something_reads_is_taken(option):
    ((key, value),) = parse_options([option]).items()
    config = load_config(SLIDR, [option])
    for part in key.split("."):
        config = config[int(part) if part.isdigit() else part]
    assert config == value


def test_options_of_a_detector():
    assert load_config(KITTI, ["model.changes.x=1"]).model.changes.x == 1
    with pytest.raises(ValueError, match=r"model.point_range"):
        load_config(KITTI, ["model.point_rnge=4"])


def test_values_are_literals_or_text():
    assert parse_options(["a=1", "b=[1, 2]", "c=None", "d=true", "e=x=y", "f=x y"]) == {
        "a": 1, "b": [1, 2], "c": None, "d": True, "e": "x=y", "f": "x y",
    }  # fmt: skip
    with pytest.raises(ValueError, match="expected --cfg-options KEY=VALUE"):
        parse_options(["a"])
    assert parse_options(["a=" + "(" * 500])["a"] == "(" * 500


def test_a_config_of_no_training_is_refused(tmp_path, capsys):
    config, checkpoint = tmp_path / "part.json", tmp_path / "a.pth"
    config.write_text('{"max_iters": 3}')
    checkpoint.write_bytes(b"")
    report = ["report", str(tmp_path / "r"), "--config", str(config), "--checkpoint"]
    for words in (["train", str(config)], ["dry_run", str(config)], [*report, str(checkpoint)]):
        assert cli.main(words) != 0
        said = capsys.readouterr().err
        assert f"{config} names no model" in said
        assert "lidistill config list" in said
