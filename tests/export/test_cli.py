# SPDX-License-Identifier: Apache-2.0
"""The verbs import_weights and export: reports, dry runs, errors in one message."""

from __future__ import annotations

import argparse

import torch

from lidistill import cli
from lidistill.distill.weights import read_state_dict
from lidistill.export.cli import add_arguments
from lidistill.export.exporting import FORMATS
from lidistill.export.import_cli import add_arguments as add_import_arguments
from lidistill.export.importing import HEADS
from tests.export.minkowski import random_state
from tests.export.samples import slidr_file


def choices(add, name):
    parser = argparse.ArgumentParser()
    add(parser)
    return tuple(next(a.choices for a in parser._actions if a.dest == name))


def test_choices_are_those_of_the_functions():
    assert choices(add_arguments, "to") == FORMATS
    assert choices(add_import_arguments, "head") == HEADS


def test_in_and_out(tmp_path, capsys):
    slidr_file(tmp_path / "model.pt")
    ours, theirs = tmp_path / "ours.pth", tmp_path / "theirs.pth"
    assert cli.main(["import_weights", str(tmp_path / "model.pt"), str(ours)]) == 0
    text = capsys.readouterr().out
    assert "reshaped  model_points.conv0p1s1.kernel -> student.conv0p1s1.weight" in text
    assert "left      model_images.encoder.conv1.weight" in text
    assert "1 left" in text
    assert text.endswith(f"written: {ours}\n")
    assert cli.main(["export", str(ours), str(theirs), "--to", "mmdet3d", "--prefix", "b."]) == 0
    assert "made      b.conv_input.1.0.weight" in capsys.readouterr().out
    assert all(name.startswith("b.") for name in read_state_dict(theirs))


def test_dry_run(tmp_path, capsys):
    slidr_file(tmp_path / "model.pt")
    out = tmp_path / "out.pth"
    for verb in ("import_weights", "export"):
        assert cli.main([verb, str(tmp_path / "model.pt"), str(out), "--dry-run"]) == 0
        assert cli.main([verb, str(tmp_path / "model.pt"), "--dry-run"]) == 0
        assert capsys.readouterr().out.count("dry run: nothing written") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_errors_are_one_message(tmp_path, capsys):
    slidr_file(tmp_path / "model.pt", state=random_state("torchsparse"))
    torch.save({"state_dict": {"fc.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    for words, message in (
        (["import_weights", "model.pt", "out.pth"], "--kernels torchsparse"),
        (["import_weights", "other.pth", "out.pth"], "fc.weight"),
        (["import_weights", "none.pth", "out.pth"], "no checkpoint at"),
        (["export", "model.pt"], "expected a file to write"),
    ):
        verb, *files = words
        assert cli.main([verb, *(str(tmp_path / name) for name in files)]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert not (tmp_path / "out.pth").exists()
