# SPDX-License-Identifier: Apache-2.0
"""Two processes through the launcher scripts: as one trains, and in a kill; the way in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lidistill.engine.distributed import _name_ranks, from_rank_0, joined
from lidistill.engine.train import train
from lidistill.hooks.run_folder import latest_checkpoint
from lidistill.io import read_json, write_json

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tests/engine/toy_slidr_config.py"


def launch(script: str, work_dir: Path, *words: str, **variables: str) -> None:
    """Run a launcher script with two processes on this machine."""
    path = f"{Path(sys.executable).parent}:{variables.pop('PATH', '')}:{os.environ['PATH']}"
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PATH": path,
        "PYTHONPATH": str(ROOT), **variables,
    }  # fmt: skip
    command = [str(ROOT / "tools" / script), *words, "--work-dir", str(work_dir)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]


def free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def check_exit(work_dir: Path) -> None:
    """No gloo thread met the end of the interpreter: one that does may kill a rank (a race)."""
    for rank in (0, 1):
        if sys.platform == "linux":  # where threads can be seen
            assert read_json(work_dir / f"rank_{rank}.json")["threads"]
        assert read_json(work_dir / f"exit_{rank}.json")["threads"] == []


def forget_the_end(work_dir: Path) -> None:
    """Leave the folder as a kill after the first checkpoint would."""
    (work_dir / "iter_4.pth").unlink()
    write_json(work_dir / "run.json", {"config": read_json(work_dir / "run.json")["config"]})


SRUN = """#!/bin/bash
# As srun starts two tasks of one machine.
while [[ $1 == --* ]]; do shift; done
for rank in 0 1; do
    SLURM_PROCID=$rank SLURM_NTASKS=2 SLURM_LOCALID=$rank "$@" & pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || exit 1; done
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """A training of two tasks, as SLURM starts them."""
    tools = tmp_path_factory.mktemp("tools")
    for name, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho 127.0.0.1\necho other\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    work_dir = tmp_path_factory.mktemp("two")
    launch(
        "slurm_train.sh", work_dir, "part", "job", str(CONFIG),
        GPUS="2", PATH=str(tools), MASTER_PORT=free_port(), SLURM_JOB_NODELIST="n[1-2]",
    )  # fmt: skip
    return work_dir


@pytest.mark.slow
def test_ranks_agree_and_rank_0_alone_writes(two_ranks):
    first, second = (read_json(two_ranks / f"rank_{rank}.json") for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert (first["saved"], second["saved"]) == (2, 0)
    assert {path.name for path in two_ranks.glob("iter_*")} == {"iter_2.pth", "iter_4.pth"}
    note = read_json(two_ranks / "run.json")
    assert (note["checkpoint"], note["processes"]) == ("iter_4.pth", 2)
    check_exit(two_ranks)


@pytest.mark.slow
def test_two_ranks_train_as_one_process_with_their_batches(two_ranks, tmp_path):
    """Negatives of all ranks, no batch norm: the same steps, but for the order of sums."""
    options = {"train_dataloader.batch_size": 2}
    train(CONFIG, tmp_path / "one", options=options, quiet=True)
    train(CONFIG, tmp_path / "half", quiet=True)
    one, half = (read_json(tmp_path / name / "rank_0.json")["weights"] for name in ("one", "half"))
    two = read_json(two_ranks / "rank_0.json")["weights"]
    moved = 0.0
    for name in one:
        theirs, ours, other = (torch.tensor(run[name]) for run in (two, one, half))
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-6)
        moved = max(moved, float((other - ours).abs().max()))
    assert moved > 1e-3  # a process with half of the data ends elsewhere


@pytest.mark.slow
def test_continues_after_a_kill(two_ranks):
    """Through torchrun this time: what started a process does not matter."""
    before = read_json(two_ranks / "rank_1.json")["weights"]
    forget_the_end(two_ranks)
    launch("dist_train.sh", two_ranks, str(CONFIG), "2", PORT=free_port())
    assert read_json(two_ranks / "run.json")["resumed_from"] == "iter_2.pth"
    assert read_json(two_ranks / "rank_1.json")["weights"] == before


def start_ranks(work_dir: Path) -> list[subprocess.Popen]:
    """Two ranks of an endless training, each what a launcher would start."""
    command = [sys.executable, "-m", "lidistill.cli", "train", str(CONFIG), "--iters", "1000000"]
    command += ["--work-dir", str(work_dir), "--launcher", "pytorch"]
    variables = {
        **os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2",
    }  # fmt: skip
    return [
        subprocess.Popen(
            command, cwd=ROOT, env={**variables, "RANK": rank, "LOCAL_RANK": rank}, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for rank in ("0", "1")
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "number", "words"),
    [
        (1, signal.SIGKILL, "rank 1 is gone"),
        (1, signal.SIGSTOP, "rank 1 is gone"),  # its machine hangs: no connection breaks
        (0, signal.SIGKILL, "rank 0"),  # gone, or: which all processes meet at, does not answer
    ],
)
def test_a_rank_that_is_killed_ends_the_other_and_is_named(rank, number, words, tmp_path):
    processes = start_ranks(tmp_path)
    try:
        deadline = time.monotonic() + 300
        while latest_checkpoint(tmp_path) is None:
            assert all(process.poll() is None for process in processes)
            assert time.monotonic() < deadline
            time.sleep(0.05)
        processes[rank].send_signal(number)
        said = processes[1 - rank].communicate(timeout=60)[1]
        assert processes[1 - rank].returncode == 1, said[-3000:]
        last = said.strip().splitlines()[-1]
        assert words in last, said[-3000:]
        assert "the training continues from its last checkpoint" in last
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_missing_variables_name_the_launcher(monkeypatch):
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"SLURM_PROCID.*missing.*tools/slurm_train\.sh"):
        _name_ranks("slurm")


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ValueError, match=r"process 1 .* no GPU: 1 are visible"), joined("pytorch"):
        pass


def test_alone_there_is_nothing_to_join():
    with joined("none"):
        assert from_rank_0(lambda: 3) == 3
