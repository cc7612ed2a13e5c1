# SPDX-License-Identifier: Apache-2.0
"""Folders of labels and results: read at once as file by file, and refused with what to do."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.bench.kitti.evaluator import made_up
from lidistill.converters.kitti.results import read_results, write_results
from lidistill.evaluation.kitti import folders as module
from lidistill.evaluation.kitti.folders import read_folders
from lidistill.io import DataError

LABEL = "Car 0.00 0 1.00 10.00 20.00 90.00 80.00 1.50 1.60 3.90 1.00 1.60 20.00 0.50"
UNKNOWN = "Car -1 -1 -10 10.00 20.00 90.00 80.00 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.fixture
def made(tmp_path):
    truth, found = made_up(4)
    for part, frames in (("label_2", truth), ("pred", found)):
        (tmp_path / part).mkdir()
        for number, labels in enumerate(frames):
            path = tmp_path / part / f"{number:06d}.txt"
            write_results(path, labels)
            if part == "label_2":
                lines = [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
                path.write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def same(first, second):
    assert first.kinds == second.kinds
    for name in ("kind", "starts", "truncated", "occluded", "alpha", "bbox", "boxes", "score"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_read_at_once_is_read_file_by_file(made, monkeypatch):
    (made / "pred" / "000001.txt").write_text("")
    fast = read_folders(made / "label_2", made / "pred")
    monkeypatch.setattr(module, "_read_at_once", lambda *_: None)
    slow = read_folders(made, made / "pred")
    same(fast.truth, slow.truth)
    same(fast.found, slow.found)
    assert fast.frames == slow.frames == tuple(f"{k:06d}" for k in range(4))


@pytest.mark.parametrize("text", [f"{LABEL} 0.4\r\n\r\n{LABEL} 0.9", f"\ufeff{LABEL}", UNKNOWN, ""])
def test_other_ways_to_write_labels(made, text):
    path = made / "label_2" / "000000.txt"
    path.write_bytes(text.encode())
    truth = read_folders(made, made / "pred").truth
    assert truth.starts[1] == text.count("Car")
    if text == UNKNOWN:
        assert not truth.has_box[0]
        assert truth.has_rectangle[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LABEL, r"expected 16 fields, got 15; missing at its end: score"),
        (f"{LABEL} nan", r"Line 1, score: expected a finite number, got nan"),
        (f"{LABEL} 1e999", r"score: expected a finite number, got inf"),
        (f"{LABEL} high", r"Line 1, score: expected a number, got 'high'"),
        ("Car 0 0", "expected 16 fields, got 3; missing at its end: alpha x1"),
        (f"{LABEL} 0.5 7", "expected 16 fields, got 17"),
    ],
)
def test_results_that_cannot_be_scored(made, line, words):
    (made / "pred" / "000002.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=words) as error:
        read_folders(made, made / "pred")
    assert "000002" in str(error.value)
    assert "what to do" in str(error.value)


def test_labels_that_cannot_be_meant(made):
    (made / "label_2" / "000002.txt").write_text(LABEL.replace("1.50", "-1.50"))
    with pytest.raises(DataError, match="height: expected 0 to 200 m"):
        read_folders(made, made / "pred")
    (made / "label_2" / "000002.txt").write_text(" ".join(LABEL.split()[:9]))
    with pytest.raises(DataError, match="expected 15 fields"):
        read_folders(made, made / "pred")


def test_frames_that_do_not_fit(made):
    (made / "pred" / "000007.txt").write_text("")
    with pytest.raises(DataError, match=r"1 frames have results but no labels .*: 000007"):
        read_folders(made, made / "pred")
    (made / "pred" / "000007.txt").unlink()
    (made / "pred" / "000003.txt").unlink()
    with pytest.raises(DataError, match=r"1 have none: 000003(.|\n)*--missing empty"):
        read_folders(made, made / "pred")
    empty = read_folders(made, made / "pred", missing="empty")
    assert (empty.found.frames, empty.notes[0][:30]) == (4, "1 frames without a result file")
    assert read_folders(made, made / "pred", missing="skip").found.frames == 3
    split = read_folders(made, made / "pred", ["000002", "000000"])
    assert split.frames == ("000002", "000000")
    assert "results of 1 frames are not in the split" in split.notes[0]
    with pytest.raises(DataError, match="1 frames of the split have no label file: 000099"):
        read_folders(made, made / "pred", ["000099"])
    with pytest.raises(ValueError, match="missing"):
        read_folders(made, made / "pred", missing="nothing")
    with pytest.raises(DataError, match="found none"):
        read_folders(made / "nowhere", made / "pred")
    (made / "bare").mkdir()
    with pytest.raises(DataError, match=r"Expected one <frame>\.txt"):
        read_folders(made, made / "bare")


def test_results_are_written_as_they_are_read(tmp_path):
    _, (found, *_) = made_up(1)
    write_results(tmp_path / "a.txt", found)
    again = read_results(tmp_path / "a.txt", "a")
    assert again.names == found.names
    np.testing.assert_allclose(again.table, found.table, atol=5e-3)
    found.score[0] = np.nan
    with pytest.raises(ValueError, match=r"detection 0 .* NaN"):
        write_results(tmp_path / "b.txt", found)
    assert not (tmp_path / "b.txt").exists()


def test_what_is_mostly_a_slip_is_said(made):
    """Results as labels, degrees, scores without an order, files of macOS."""
    (made / "pred" / "._000000.txt").write_bytes(b"\0\5\x16\7")
    assert read_folders(made / "label_2", made / "pred").notes == ()
    swapped = read_folders(made / "pred", made / "pred").notes
    assert any("labels have a score" in note for note in swapped)
    for number in range(4):
        path = made / "pred" / f"{number:06d}.txt"
        rows = [line.split() for line in path.read_text().splitlines()] * 9
        path.write_text("".join(" ".join([*row[:14], "90", "1.0"]) + "\n" for row in rows))
    words = " ".join(read_folders(made / "label_2", made / "pred").notes)
    assert "rotation_y goes to 90" in words
    assert "have the score 1: no order" in words
