# SPDX-License-Identifier: Apache-2.0
"""One reader for every checkpoint: plain tensors in, no code run, errors that name the file."""

import argparse

import pytest
import torch
from safetensors.torch import save_file

from lidistill.io.checkpoints import read_checkpoint, tensor_tables


def test_both_formats_give_the_same_tensors(tmp_path):
    state = {"a.weight": torch.arange(6.0).view(2, 3)}
    torch.save(state, tmp_path / "a.pth.tar")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth.tar", "a.safetensors"):
        assert torch.equal(read_checkpoint(tmp_path / name)["a.weight"], state["a.weight"])


def test_a_command_line_inside_is_plain_data(tmp_path):
    torch.save({"args": argparse.Namespace(lr=0.1), "w": torch.ones(1)}, tmp_path / "dino.pth")
    assert read_checkpoint(tmp_path / "dino.pth")["args"].lr == 0.1


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none\.pth; look in the box"):
        read_checkpoint(tmp_path / "none.pth", "look in the box")
    for name in ("cut.pth", "cut.safetensors"):
        (tmp_path / name).write_bytes(b"\x80\x05cut")
        with pytest.raises(ValueError, match=f"{name} is no readable"):
            read_checkpoint(tmp_path / name)


def test_tables_are_listed_with_their_place():
    one, two = torch.zeros(1), torch.ones(2)
    content = {
        "student": {"w": one},
        "model": {"w": two, "inner": {"v": one}},
        "epoch": 3,
        "bias": two,
        7: {"numbered": one},
    }
    tables = tensor_tables(content, last=("student",))
    assert list(tables) == ["", "model", "model.inner", "student"]
    assert tables["model"] == {"w": two}
    assert list(tensor_tables(content)) == ["", "student", "model", "model.inner"]
    assert tensor_tables([1, 2]) == {}


def test_a_flipped_bit_in_the_weights_is_seen(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(64)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x00\x00\x80\x3f" * 8) + 6] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"(?s)a\.pth.*check sum"):
        read_checkpoint(path)
