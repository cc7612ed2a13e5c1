# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: read without running code, refused where damaged; parts keep their past."""

from __future__ import annotations

import pytest
import torch

from lidistill.export.files import PLACES, read_content, with_versions
from lidistill.export.report import Report, parts_of
from tests.export.samples import slidr_file


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_bad_files(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_content(tmp_path / "none.pth")
    torch.save({"model_points": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="without running code"):
        read_content(tmp_path / "evil.pt")
    assert "code ran" not in capsys.readouterr().out
    slidr_file(tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half\.pt is no readable checkpoint"):
        read_content(tmp_path / "half.pt")
    (tmp_path / "half.safetensors").write_bytes(b"\x08\x00")
    with pytest.raises(ValueError, match="safetensors"):
        read_content(tmp_path / "half.safetensors")
    torch.save({"epoch": 3, "values": 1.0}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match="no tensors by name; it holds: epoch, values"):
        read_content(tmp_path / "empty.pt")


def test_tables_in_order(tmp_path):
    one = torch.zeros(1)
    content = {"epoch": 1, "b": {"deep": {"x": one}}, "state_dict": {"w": one}, "top": one}
    torch.save({**content, "model_points": {"k": one}, 3: {"numbered": one}}, tmp_path / "a.pt")
    read = read_content(tmp_path / "a.pt")
    assert list(read.tables) == ["model_points", "state_dict", "", "b.deep"]
    assert PLACES[0] == "model_points"
    assert read.notes["epoch"] == 1
    assert "b.deep: 1 tensors (x)" in read.summary()


def test_versions_survive_the_file(tmp_path):
    torch.save({"state_dict": with_versions({"a.b.weight": torch.zeros(1)})}, tmp_path / "a.pth")
    state = torch.load(tmp_path / "a.pth", weights_only=True)["state_dict"]
    assert state._metadata == {"a.b": {"version": 2}}


def test_report_counts_and_lists():
    parts = parts_of({"a": torch.zeros(2), "b": torch.zeros(3)})
    parts["b"] = parts["b"].become(torch.zeros(1, 3), "a row")
    report = Report("title", parts, [parts_of({"c": torch.zeros(4)}, "x")["c"]], ["remember"])
    assert report.summary() == "1 taken, 1 reshaped, 0 made, 1 left"
    lines = report.text().splitlines()
    assert lines[2] == "taken     a -> a  [2]"
    assert lines[3] == "reshaped  b -> b  [3] -> [1, 3]  (a row)"
    assert lines[4] == "left      x.c  [4]"
    assert lines[-1] == "remember"


def test_parts_keep_their_past():
    tensor = torch.zeros(2)
    part = parts_of({"w": tensor}, "state_dict")["w"]
    assert part.become(tensor, "nothing") is part
    changed = part.become(tensor + 1, "first").become(tensor + 2, "second")
    assert (changed.source, changed.note) == ("state_dict.w", "first; second")
    assert changed.original is tensor
