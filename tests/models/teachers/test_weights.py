# SPDX-License-Identifier: Apache-2.0
"""Published naming schemes, and the messages of files that do not fit."""

import argparse
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lidistill.models.teachers.weights import load_image_weights


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 6, 1))


def source(seed=0):
    torch.manual_seed(seed)
    state = Tiny().state_dict()
    return {
        name: torch.randn(value.shape) if value.ndim else value for name, value in state.items()
    }


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


HEAD = {"fc.weight": torch.zeros(10, 6)}
SCHEMES = {
    "torchvision": lambda s: {**s, **HEAD},
    "moco": lambda s: {
        "epoch": 200,
        "arch": "resnet50",
        "state_dict": {
            **prefixed(s, "module.encoder_q."),
            **prefixed(source(1), "module.encoder_k."),
            "module.queue": torch.zeros(4, 8),
        },
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    },
    "swav": lambda s: {
        **prefixed(s, "module."),
        "module.projection_head.0.weight": torch.zeros(2, 2),
    },
    "densecl": lambda s: {
        "meta": {},
        "state_dict": {**prefixed(s, "encoder_q.0."), "queue": torch.zeros(3)},
    },
    "densecl-extracted": lambda s: {"state_dict": s, "author": "DenseCL"},
    "dino-full": lambda s: {
        "student": prefixed(source(1), "module.backbone."),
        "teacher": {**prefixed(s, "backbone."), "head.mlp.0.weight": torch.zeros(2, 2)},
        "args": argparse.Namespace(arch="resnet50", lr=0.1),
    },
    "dino-backbone": lambda s: s,
    "slidr": lambda s: {
        "model_points": {"final.weight": torch.zeros(4)},
        "model_images": {**prefixed(s, "encoder."), "decoder.0.weight": torch.zeros(64, 6, 1, 1)},
        "epoch": 50,
    },
    "pixpro": lambda s: {"model": prefixed(s, "module.encoder.")},
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes(scheme, tmp_path):
    state = source()
    torch.save(SCHEMES[scheme](state), tmp_path / "weights.pth")
    model = Tiny()
    report = load_image_weights(model, tmp_path / "weights.pth")
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert "8 tensors from" in report


def test_safetensors(tmp_path):
    state = source()
    save_file(prefixed(state, "encoder."), tmp_path / "w.safetensors")
    model = Tiny()
    load_image_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.conv1.weight, state["conv1.weight"])


def test_counters_may_be_absent(tmp_path):
    state = {k: v for k, v in source().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "w.pth")
    load_image_weights(Tiny(), tmp_path / "w.pth")


def test_no_match_is_an_error_that_shows_both_sides(tmp_path):
    torch.save({"state_dict": {"blocks.0.weight": torch.zeros(3)}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"0 of 8 tensors matched .*\(none\)") as error:
        load_image_weights(Tiny(), tmp_path / "w.pth")
    assert "conv1.weight" in str(error.value)
    assert "state_dict: blocks.0.weight" in str(error.value)


def test_partial_match_is_an_error_and_changes_nothing(tmp_path):
    state = source()
    state["layer1.0.weight"] = torch.zeros(6, 5, 1, 1)
    torch.save(state, tmp_path / "w.pth")
    model = Tiny()
    before = model.conv1.weight.clone()
    with pytest.raises(ValueError, match=r"7 of 8 tensors matched.*Missing .*layer1\.0\.weight"):
        load_image_weights(model, tmp_path / "w.pth")
    assert torch.equal(model.conv1.weight, before)


class Exploit:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), 1j])
def test_numbers_that_are_none_are_refused(wild, tmp_path):
    state = source()
    state["bn1.weight"] = state["bn1.weight"] * wild
    path, model = tmp_path / "weights.pth", Tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"weights\.pth holds NaN, infinite.*bn1\.weight"):
        load_image_weights(model, path)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_files_that_run_code_or_are_broken_are_refused(tmp_path, capsys):
    torch.save({"conv1.weight": Exploit()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="read safely"):
        load_image_weights(Tiny(), tmp_path / "evil.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(ValueError, match="read safely"):
        load_image_weights(Tiny(), tmp_path / "raw.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00")
    with pytest.raises(ValueError, match="no readable safetensors"):
        load_image_weights(Tiny(), tmp_path / "cut.safetensors")
    assert "code ran" not in capsys.readouterr().out


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        load_image_weights(Tiny(), tmp_path / "no.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds no tensors"):
        load_image_weights(Tiny(), tmp_path / "empty.pth")
