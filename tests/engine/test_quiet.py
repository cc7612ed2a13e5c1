# SPDX-License-Identifier: Apache-2.0
"""What a terminal shows of a training: lines a person reads; the file has everything."""

from __future__ import annotations

import io
import logging
import time

from lidistill.engine.quiet import hush
from lidistill.engine.train import train
from tests.engine.test_train import CONFIG

LONG = (
    "\n------\nSystem environment:\n    sys.platform: linux",
    "Config:\nmodel = dict()\n",
    "Hooks will be executed in the following order:\nbefore_run:",
    "Iter(test) [12/12]    mAP: 0.1  NDS: 0.2  time: 0.1",
)
SHORT = (
    "Iter(test) [10/12]    eta: 0:00:01  time: 0.1",
    "Iter(test) [12/12]    eta: 0:00:00  time: 0.1  memory: 3",
    "audit of the first batch\n  mse: value 1",
    "Saving checkpoint at 5 iterations",
)


def test_long_messages_are_left_to_the_file(tmp_path):
    logger, screen = logging.Logger("quiet"), io.StringIO()
    logger.addHandler(logging.StreamHandler(screen))
    logger.addHandler(logging.FileHandler(tmp_path / "log"))
    hush(logger)
    hush(logger)
    for text in LONG + SHORT:
        logger.info(text)
    assert screen.getvalue() == "".join(f"{text}\n" for text in SHORT)
    assert (tmp_path / "log").read_text() == "".join(f"{text}\n" for text in LONG + SHORT)


def test_trainings_of_one_second_write_logs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1.8e9)  # mmengine's clock
    for name in ("one", "two"):
        train(CONFIG, tmp_path / name, options={"iters": 10})
        (log,) = (tmp_path / name).glob("*/*.log")
        assert log.read_text().count("Iter(train) [10/10]") == 1


def test_a_training_begins_after_a_few_lines(tmp_path, capfd):
    train(CONFIG, tmp_path, options={"iters": 10})
    seen = capfd.readouterr()
    before = (seen.out + seen.err).partition("Iter(train)")[0]
    assert "log, config and environment" in before
    assert before.count("\n") < 40, before
    (log,) = tmp_path.glob("*/*.log")
    assert "Config:" in log.read_text()
