# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lidistill.io.locks import LOCK_FILE, exclusive

HOLD = """
import sys, time
from lidistill.io.locks import exclusive
with exclusive(sys.argv[1], "holds"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_waits_and_a_killed_holder_lets_go(tmp_path, capfd):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    got = threading.Event()

    def take():
        with exclusive(tmp_path / "run", "trains"):
            got.set()

    waiter = threading.Thread(target=take)
    waiter.start()
    try:
        said = ""
        while "waiting for it" not in said:
            said += capfd.readouterr().err
            time.sleep(0.01)
        assert f"another process trains in {tmp_path / 'run'}" in said
        assert not got.is_set()
    finally:
        holder.kill()
        waiter.join(timeout=30)
    assert got.is_set()


def test_a_folder_removed_while_mkdir_looks_at_it_is_made_again(tmp_path, monkeypatch):
    made, turns = Path.mkdir, []

    def mkdir(path, *args, **options):
        turns.append(path)
        if len(turns) == 1:  # it was there, and is gone when pathlib asks whether it is a folder
            raise FileExistsError(path)
        made(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with exclusive(tmp_path / "work", "works"):
        assert (tmp_path / "work" / LOCK_FILE).is_file()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), exclusive(tmp_path / "file", "works"):
        pass


def test_free_again_after_an_error(tmp_path):
    for _ in range(2):
        try:
            with exclusive(tmp_path, "works"):
                raise KeyError
        except KeyError:
            pass
    with exclusive(tmp_path, "works"):
        assert (tmp_path / LOCK_FILE).is_file()


def test_a_lock_that_went_with_its_folder_is_taken_anew(tmp_path):
    folder = tmp_path / "work"
    code = HOLD.replace(
        "time.sleep(60)", "sys.stdin.readline(); import shutil; shutil.rmtree(sys.argv[1])"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    held = []

    def take():
        with exclusive(folder, "works"):
            held.append((folder / LOCK_FILE).is_file())

    waiter = threading.Thread(target=take)
    waiter.start()
    holder.stdin.write("\n")
    holder.stdin.close()
    assert holder.wait(timeout=60) == 0
    waiter.join(timeout=60)
    assert held == [True]
