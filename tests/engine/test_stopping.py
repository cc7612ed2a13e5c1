# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM: the iteration is finished and saved, and what goes on is the same."""

from __future__ import annotations

import copy
import multiprocessing
import multiprocessing.synchronize
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from lidistill.engine import stopping
from lidistill.engine.stopping import Stopped, StopRequest, Underway, shielded_worker
from lidistill.engine.train import train
from lidistill.hooks.run_folder import latest_checkpoint
from lidistill.interrupts import exit_code
from lidistill.io import read_json
from tests.engine.test_train import CONFIG, ROOT, assert_same_weights
from tests.engine.toy_data import ToyDataset

BATCH = 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    return train(CONFIG, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def signals(monkeypatch):
    """Send signals while the batch of an iteration is loaded: {iteration: [signals]}."""
    plan: dict[int, list[int]] = {}
    original = ToyDataset.__getitem__

    def load(self, draw):
        item = original(self, draw)
        if len(self.seen) % BATCH == 1:
            for number in plan.get((len(self.seen) - 1) // BATCH + 1, []):
                os.kill(os.getpid(), number)
        return item

    monkeypatch.setattr(ToyDataset, "__getitem__", load)
    return plan


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_iteration_and_the_run_goes_on(
    number, code, signals, undisturbed, tmp_path, capfd
):
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    signals[17] = [number]
    with pytest.raises(Stopped, match=r"iteration 17 of 40 is saved in .*iter_17\.pth") as caught:
        train(CONFIG, tmp_path)
    assert exit_code(caught.value) == code
    assert "a second one ends at once" in capfd.readouterr().err
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    assert latest_checkpoint(tmp_path).name == "iter_17.pth"
    assert "iter_17.pth" in read_json(tmp_path / "run.json")["wrote"]
    signals.clear()
    final = train(CONFIG, tmp_path)
    assert read_json(tmp_path / "run.json")["resumed_from"] == "iter_17.pth"
    assert_same_weights(final, undisturbed)
    train(CONFIG, tmp_path, restart=True, options={"iters": 1})
    assert [path.name for path in tmp_path.glob("iter_*")] == ["iter_1.pth"]


def test_a_step_of_several_batches_is_finished_first(signals, tmp_path):
    signals[17] = [signal.SIGTERM]
    with pytest.raises(Stopped, match="iteration 20 of 40"):
        train(CONFIG, tmp_path, options={"accumulate": 4})


def test_a_second_signal_ends_at_once(signals, tmp_path):
    signals[3] = [signal.SIGINT, signal.SIGINT]
    with pytest.raises(Stopped, match="ended at once; there is no checkpoint yet") as caught:
        train(CONFIG, tmp_path)
    assert exit_code(caught.value) == 130
    assert latest_checkpoint(tmp_path) is None
    signals.clear()
    train(CONFIG, tmp_path, seed=7, options={"iters": 1})  # nothing was begun: nothing is blocked


def test_in_the_last_iteration_the_training_ends_by_itself(signals, undisturbed, tmp_path):
    signals[40] = [signal.SIGTERM]
    with pytest.raises(Stopped, match="the training is finished"):
        train(CONFIG, tmp_path)
    assert read_json(tmp_path / "run.json")["checkpoint"] == "iter_40.pth"
    assert_same_weights(tmp_path / "iter_40.pth", undisturbed)


def wait_in_a_worker(underway: Underway, ready: multiprocessing.synchronize.Event) -> None:
    shielded_worker(0, underway, num_workers=1, rank=0, seed=0, disable_subprocess_warning=True)
    ready.set()
    for _ in range(600):
        time.sleep(0.1)


@pytest.mark.parametrize("needed", [True, False])
def test_a_data_worker_ends_when_the_training_needs_it_no_more(needed, monkeypatch):
    monkeypatch.setattr(stopping, "LOOK_S", 1)
    context = multiprocessing.get_context("fork")
    underway, ready = Underway(), context.Event()
    worker = context.Process(target=wait_in_a_worker, args=(copy.deepcopy(underway), ready))
    with underway.noted() if needed else nullcontext():
        worker.start()
        assert ready.wait(30)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(worker.pid, number)
        worker.join(2.5 if needed else 20)
        assert worker.is_alive() == needed
    worker.join(20)
    assert worker.exitcode == 0


def test_torchrun_sends_a_signal_twice(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    request = StopRequest()
    with request.listening():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert request.signal == signal.SIGINT


class Start:
    """Starts of one training by the command line, alike but for the folder.

    One thread, as it was for the reference: another number of threads adds in another order.
    """

    def __init__(self, work_dir: Path, workers: int = 0) -> None:
        words = ["train", str(CONFIG), "--work-dir", str(work_dir)]
        words += ["--cfg-options", f"train_dataloader.num_workers={workers}"]
        self.work_dir = work_dir
        self.command = [sys.executable, "-m", "lidistill.cli", *words]
        self.environment = {
            **os.environ, "TOY_DELAY": "0.02", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def __call__(self) -> subprocess.Popen:
        return subprocess.Popen(
            self.command, cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def to_the_end(self) -> Path:
        process = self()
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 0, said[-2000:]
        return self.work_dir / "iter_40.pth"

    def ended_by(self, number: int, seconds: float) -> tuple[int, str]:
        """Send a signal to the process group so long after its first checkpoint; code and words."""
        begun = latest_checkpoint(self.work_dir)
        process = self()
        deadline = time.monotonic() + 300
        while latest_checkpoint(self.work_dir) == begun and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, number)
        said = process.communicate(timeout=120)[1]
        return process.returncode, said


@pytest.fixture(scope="module")
def undisturbed_command(tmp_path_factory) -> Path:
    return Start(tmp_path_factory.mktemp("undisturbed_command")).to_the_end()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(-(-int(os.environ.get("LIDISTILL_KILLS", "6")) // 3)))
def test_whatever_ends_it_and_when_it_goes_on_the_same(seed, undisturbed_command, tmp_path):
    """SIGKILL, SIGINT and SIGTERM to the whole process group, each at a random moment.

    ``LIDISTILL_KILLS`` says how many moments there are over all cases, three each.
    """
    draw = random.Random(seed)
    start = Start(tmp_path, workers=2 * (seed % 2))
    codes = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}
    for number in draw.sample(list(codes), 3):
        code, said = start.ended_by(number, draw.uniform(0, 0.5))
        assert code in (0, codes[number]), said
        if code == codes[number] and number != signal.SIGKILL:
            assert "is saved in" in said or "is finished" in said, said
    assert_same_weights(start.to_the_end(), undisturbed_command)
    assert read_json(tmp_path / "run.json")["resumed_from"]
