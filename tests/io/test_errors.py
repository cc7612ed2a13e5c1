# SPDX-License-Identifier: Apache-2.0
"""An error out of a worker process is one message, not its traceback."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lidistill.io import DataError, read_bytes
from lidistill.io.errors import without_worker_trace


class Broken(Dataset):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        DataError("File not found.", path="a/b.bin", token="x", fix="look: there."),
        FileNotFoundError(2, "No such file", "a/b.bin"),
        ValueError("one line"),
        ValueError("two\nlines: of it"),
    ],
)
def test_the_last_part_is_the_message(error):
    with pytest.raises(type(error)) as caught:
        next(iter(DataLoader(Broken(error), num_workers=1)))
    assert without_worker_trace(str(caught.value)) == str(error)


@pytest.mark.parametrize("text", ["", "plain", 'two\n  File "x", line 3', "Caught up with it."])
def test_other_messages_stay(text):
    assert without_worker_trace(text) == text


def test_a_slip_of_the_hand_is_told(tmp_path):
    (tmp_path / "lidistill_infos_train.pkl").touch()
    with pytest.raises(DataError, match=r"did you mean .*infos_train\.pkl\? If not: mend it"):
        read_bytes(tmp_path / "lidistill_infos_trian.pkl", None, "mend it")
    with pytest.raises(DataError) as told:
        read_bytes(tmp_path / "something_else.bin", None, "mend it")
    assert told.value.fix == "mend it"
    assert "infos_train" not in str(told.value)


def test_frames_have_no_near_names(tmp_path):
    for number in range(3):
        (tmp_path / f"{number:06}.bin").touch()
    with pytest.raises(DataError) as told:
        read_bytes(tmp_path / "000003.bin", None, "mend it")
    assert told.value.fix == "mend it"


def test_what_a_damaged_file_holds_is_cut_in_the_message():
    error = DataError(f"Expected a name, got {'9' * 200_000} there.", path="a.txt")
    assert len(str(error)) < 2500
    assert str(error).startswith("Expected a name, got 99")
    assert "9 there.\n  file: a.txt" in str(error)
