# SPDX-License-Identifier: Apache-2.0
"""Configs are read the same way everywhere, and every class in them has a place."""

from __future__ import annotations

import argparse
import ast
import inspect
from pathlib import Path

import pytest

from lidistill.engine.configs import show
from lidistill.engine.configs.read import add_config_arguments, load_config
from lidistill.engine.configs.show import Built, find_built, locate
from tests.conftest import project_configs

BASE = """
from torch.optim import SGD

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type=SGD, lr=0.5, momentum=0.9))
"""
LEAF = """
from mmengine.config import read_base

with read_base():
    from .base import *

from mmengine.hooks import CheckpointHook

optim_wrapper["optimizer"]["lr"] = 0.1
custom_hooks = [dict(type=CheckpointHook, interval=2), dict(type="NoSuchHook")]
train_cfg = dict(max_epochs=12)
"""


@pytest.fixture
def leaf(tmp_path: Path) -> Path:
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "leaf.py").write_text(LEAF)
    return tmp_path / "leaf.py"


def test_options_replace_values(leaf):
    options = [
        "train_cfg.max_epochs=1",
        "train_cfg.betas=(0.9, 0.95)",
        "train_cfg.name=slidr",
        "train_cfg.by_epoch=false",
        "train_cfg.equation=a=b",
    ]
    config = load_config(leaf, options)
    assert config.train_cfg.max_epochs == 1
    assert config.optim_wrapper.optimizer.lr == 0.1
    assert config.train_cfg.betas == (0.9, 0.95)
    assert config.train_cfg.name == "slidr"
    assert config.train_cfg.by_epoch is False
    assert config.train_cfg.equation == "a=b"


def test_missing_config_gets_the_nearest_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no configs/slidr/dmo.py; .*slidr/demo "):
        load_config(Path("configs/slidr/dmo.py"))


@pytest.mark.parametrize("option", ["no_value", "=3"])
def test_malformed_option(leaf, option):
    with pytest.raises(ValueError, match=f"KEY=VALUE, got '{option}'"):
        load_config(leaf, [option])


@pytest.mark.parametrize(
    ("line", "message"),
    [("from torch.optim import *", "Illegal syntax"), ("a = dict(b=1, b=2)", "keyword argument")],
)
def test_config_that_does_not_parse_is_named(leaf, line, message):
    leaf.write_text(f"{LEAF}{line}\n")
    with pytest.raises(ValueError, match=rf"leaf\.py: {message}"):
        load_config(leaf)


def test_arguments():
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    args = parser.parse_args(["c.py", "--cfg-options", "a=1", "b=2"])
    assert (args.config, args.cfg_options) == (Path("c.py"), ["a=1", "b=2"])


class Sample:
    """Stands on a known line of this file."""


def a_function():
    """Also stands on a known line."""


@pytest.mark.parametrize("kind", [Sample, a_function])
def test_place_is_file_and_line(kind, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    built = locate(kind, "model")
    line = inspect.getsourcelines(kind)[1]
    assert built == Built("model", f"{__name__}.{kind.__name__}", f"{Path(__file__).name}:{line}")


def test_walk_finds_each_type_with_its_key_parents_first():
    config = {
        "model": {"type": Sample, "head": {"type": a_function}, "type_of_loss": "l2"},
        "hooks": [{"type": Sample}, 3, ({"type": Sample},)],
        "dataset": {"type": 4},
    }
    keys = [built.key for built in find_built(config)]
    assert keys == ["model", "model.head", "hooks[0]", "hooks[2][0]"]


def test_names_are_looked_up():
    assert locate("torch.optim.SGD").name == "torch.optim.sgd.SGD"
    assert "checkpoint_hook.py:" in locate("CheckpointHook").place
    assert "checkpoint_hook.py:" in locate("mmengine.CheckpointHook").place
    assert locate("NoSuchThing").place.startswith("unknown")
    assert locate("math.sqrt").place == "built in, no source"


def test_a_module_that_lacks_something_is_named(tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "not_installed_anywhere" in locate("lacking.Model").place


def test_foreign_detectors_are_found():
    assert "mmdet3d" in locate("mmdet3d.VoxelNet").place


def run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    show.add_arguments(parser)
    assert show.run(parser.parse_args(words)) == 0


def test_command_prints_values_and_places(leaf, capsys):
    run(str(leaf), "--cfg-options", "optim_wrapper.optimizer.momentum=0.5")
    printed = capsys.readouterr().out
    assert "momentum=0.5" in printed
    assert "lr=0.1" in printed
    assert "custom_hooks[0]: mmengine.hooks.checkpoint_hook.CheckpointHook" in printed
    assert "custom_hooks[1]: NoSuchHook  unknown" in printed
    run(str(leaf), "--classes-only")
    assert "momentum" not in capsys.readouterr().out


def test_stages_are_shown_too(leaf, capsys):
    staged = leaf.parent / "staged.py"
    staged.write_text('stages = [dict(name="only", config="leaf.py")]\n')
    run(str(staged), "--classes-only")
    assert "custom_hooks[0]: mmengine.hooks" in capsys.readouterr().out


CONFIGS = project_configs()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_of_the_project_names_only_things_that_exist(path):
    for built in find_built(load_config(path).to_dict()):
        assert not built.place.startswith(("unknown", "cannot")), built


def test_text_of_a_config_is_laid_out_once(monkeypatch):
    from mmengine.config import config as module

    calls: list[str] = []
    format_code = module.FormatCode

    yapf = getattr(format_code, "__wrapped__", format_code)

    def counted(text, *args, **kwargs):
        calls.append(text)
        return yapf(text, *args, **kwargs)

    monkeypatch.setattr(module, "FormatCode", counted)
    config = load_config(Path(__file__).parents[1] / "toy_config.py")
    texts = {config.pretty_text for _ in range(3)}
    assert len(texts) == 1
    statements = ast.parse(texts.copy().pop()).body
    assert len(set(calls)) == len(calls) == len(statements)  # each once
    config.max_iters = 3
    assert config.pretty_text not in texts
    assert calls[-1].strip() == "max_iters=3"
    assert len(set(calls)) == len(calls)
    laid_out = config.pretty_text
    monkeypatch.setattr(module, "FormatCode", yapf)  # the whole text at once
    assert config.pretty_text == laid_out


def test_a_config_that_does_not_run_is_named_with_its_line(tmp_path):
    path = tmp_path / "mine.py"
    for text, words in (("a = 1\nb = nan\n", "NameError in line 2"), ("a = [][3]\n", "IndexError")):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"(?s){words}.*mine\.py"):
            load_config(path)
    path.write_text("a = 1\n")
    with pytest.raises(ValueError, match=r"mine\.py: .*'b'"):
        load_config(path, ["b=2"])
