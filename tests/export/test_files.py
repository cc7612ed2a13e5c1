# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: read without running code, refused where damaged; parts keep their past."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lidistill.export.exporting import export_student
from lidistill.export.files import PLACES, read_content, with_versions
from lidistill.export.importing import import_weights
from lidistill.export.report import Report, parts_of
from lidistill.io import DataError
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


DAMAGES = {
    "nan": (lambda t: t.index_fill(0, torch.tensor([0]), torch.nan), "NaN or infinite"),
    "inf": (lambda t: t.index_fill(0, torch.tensor([0]), -torch.inf), "NaN or infinite"),
    "int64": (lambda t: t.long(), "is int64"),
    "bool": (lambda t: t > 0, "is bool"),
    "complex": (lambda t: t.to(torch.complex64), "is complex64"),
    "meta": (lambda t: t.to("meta"), "on the meta device"),
    "sparse": (lambda t: t.to_sparse(), "is sparse"),
}


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("to", ["student", "slidr", "import"])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_weights_that_are_none_are_named(kind, to, unet, tmp_path):
    """In each direction, each file: the error names the file, the tensor and what it is."""
    file = tmp_path / "iter_9.pth"
    content = torch.load(file, weights_only=True)
    name = "student.conv0p1s1.weight"
    spoil, words = DAMAGES[kind]
    content["state_dict"][name] = spoil(content["state_dict"][name])
    torch.save(content, file)
    convert = import_weights if to == "import" else partial(export_student, to=to)
    with pytest.raises(DataError, match=words) as caught:
        convert(file, tmp_path / "out.pth")
    assert str(file) in str(caught.value)
    assert name in str(caught.value)
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("kind", ["nan", "inf", "int64"])
def test_weights_of_safetensors_are_checked_too(kind, unet, tmp_path):
    file = tmp_path / "a.safetensors"
    export_student(tmp_path / "iter_9.pth", file, "student")
    state = load_file(file)
    state["bn0.running_var"] = DAMAGES[kind][0](state["bn0.running_var"])
    save_file(state, file)
    with pytest.raises(DataError, match=rf"bn0\.running_var .*{DAMAGES[kind][1]}"):
        import_weights(file, None)


def test_what_is_not_used_is_not_judged(unet, tmp_path):
    """Counters and index tables are whole numbers; an optimizer's NaN is its own."""
    file = tmp_path / "iter_9.pth"
    content = torch.load(file, weights_only=True)
    content["ema"] = {"weight": torch.tensor([torch.nan])}
    content["state_dict"]["student.relative_index"] = torch.zeros(3, dtype=torch.int64)
    torch.save(content, file)
    assert export_student(file, tmp_path / "out.pth", "student").counts()["taken"] > 10
    assert import_weights(file, None).counts()["taken"] > 10


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_full_disk_is_named(suffix, unet, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / f"out{suffix}"
    with pytest.raises(DataError, match=rf"(?s)No space left on device.*out{suffix}"):
        export_student(tmp_path / "iter_9.pth", out, "student")
    assert [path.name for path in tmp_path.iterdir()] == ["iter_9.pth"]
