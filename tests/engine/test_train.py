# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lidistill import provenance
from lidistill.engine.configs.read import load_config
from lidistill.engine.configs.stages import fill_stage_checkpoints, fingerprint
from lidistill.engine.loops.iterations import ResumableTrainLoop, _AlreadyAdvanced
from lidistill.engine.train import train
from lidistill.hooks.checkpoint import AtomicCheckpointHook
from lidistill.hooks.run_folder import latest_checkpoint, note_run, refuse_damaged
from lidistill.io import DataError, read_json, write_json
from tests.distill.toys import ToyMethod

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tests/engine/toy_config.py"


def weights(checkpoint: Path) -> dict:
    return torch.load(checkpoint, weights_only=False)["state_dict"]


def assert_same_weights(first: Path, second: Path) -> None:
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    return train(CONFIG, tmp_path_factory.mktemp("undisturbed"))


def test_run_notes_checkpoint_and_skips_when_finished(undisturbed):
    note = read_json(undisturbed.parent / "run.json")
    assert note["checkpoint"] == "iter_40.pth"
    assert note["iterations"] == 40
    before = undisturbed.stat().st_mtime_ns
    assert train(CONFIG, undisturbed.parent) == undisturbed
    assert undisturbed.stat().st_mtime_ns == before
    assert len(list(undisturbed.parent.glob("iter_*.pth"))) == 2


def test_another_config_in_the_same_folder_is_refused(undisturbed):
    with pytest.raises(ValueError, match=r"run of another config.*--restart"):
        train(CONFIG, undisturbed.parent, seed=7)


def test_seed_and_options_change_the_run(undisturbed, tmp_path):
    other = train(
        CONFIG, tmp_path, seed=7, options={"iters": 10, "optim_wrapper.optimizer.lr": 0.001}
    )
    assert other.name == "iter_10.pth"
    assert not torch.equal(
        weights(other)["student.first.weight"], weights(undisturbed)["student.first.weight"]
    )


def test_drawn_weights_depend_on_the_seed_alone(tmp_path, monkeypatch):
    states = []
    monkeypatch.setattr(
        ToyMethod, "init_weights", lambda self: states.append(torch.get_rng_state()), raising=False
    )
    train(CONFIG, tmp_path, seed=5, options={"iters": 1})
    torch.manual_seed(5)
    assert torch.equal(states[0], torch.get_rng_state())


def train_and_kill(config: Path, work: Path, watched: Path) -> None:
    """Start a training and end it at once when a folder has its tenth iteration."""
    command = [
        sys.executable,
        "-c",
        "from tests.engine.test_train import *; train(*sys.argv[1:])",
    ]
    threads = str(torch.get_num_threads())  # another number would add in another order
    environment = {**os.environ, "TOY_DELAY": "0.02", "OMP_NUM_THREADS": threads}
    process = subprocess.Popen(
        [*command, str(config), str(work)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while latest_checkpoint(watched) is None or latest_checkpoint(watched).name < "iter_10.pth":
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert latest_checkpoint(watched).name != "iter_40.pth"


def test_kill_and_continue_gives_the_same_weights(undisturbed, tmp_path):
    train_and_kill(CONFIG, tmp_path, tmp_path)
    final = train(CONFIG, tmp_path)
    assert read_json(tmp_path / "run.json")["resumed_from"] is not None
    assert_same_weights(final, undisturbed)


@pytest.mark.parametrize("damage", ["cut", "a bit", "empty"])
def test_a_damaged_checkpoint_is_not_resumed(undisturbed, tmp_path, damage):
    """torch looks at no check sum: the run would go on from other weights."""
    for name in ("iter_35.pth", "iter_40.pth"):
        data = bytearray(undisturbed.read_bytes())
        (tmp_path / name).write_bytes(data)
    data[len(data) // 2] ^= 4
    damaged = {"cut": data[: len(data) // 2], "a bit": data, "empty": b""}[damage]
    (tmp_path / "iter_40.pth").write_bytes(damaged)
    with pytest.raises(DataError, match=r"(?s)damaged.*iter_40\.pth.*from the one before"):
        refuse_damaged(latest_checkpoint(tmp_path))
    (tmp_path / "iter_40.pth").unlink()
    refuse_damaged(latest_checkpoint(tmp_path))


def test_resume_does_not_load_what_was_trained_on():
    advanced = _AlreadyAdvanced(iter("abc"), 2)
    assert [next(advanced) for _ in range(4)] == [None, None, "a", "b"]
    assert ResumableTrainLoop.run is not None


def test_latest_checkpoint_ignores_foreign_files(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for name in ("iter_5.pth", "iter_40.pth", "iter_x.pth", "best.pth"):
        (tmp_path / name).touch()
    (tmp_path / "last_checkpoint").write_text("")
    assert latest_checkpoint(tmp_path).name == "iter_40.pth"


def test_one_checkpoint_is_too_few():
    with pytest.raises(ValueError, match="at least 2"):
        AtomicCheckpointHook(keep=1)


def staged(tmp_path: Path, model: str) -> Path:
    """A folder of two configs, the second with a model of its own."""
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "_base_").symlink_to(ROOT / "configs/_base_")
    (folder / "staged").mkdir()
    first = CONFIG.read_text().replace("from ...configs._base_", "from .._base_")
    (folder / "staged/first.py").write_text(first)
    second = first.replace("import ToyMethod", "import SelfTaught, ToyMethod")
    second = second.replace("model = dict(type=ToyMethod)", f"model = {model}")
    (folder / "staged/second.py").write_text(second)
    return folder


def test_kill_inside_a_stage_and_continue(tmp_path):
    """The stage before is left alone, the broken one ends as if nothing had been."""
    model = 'dict(type=SelfTaught, checkpoint="stage://teacher")'
    folder = staged(tmp_path, model)
    config = folder / "staged/all.py"
    config.write_text(
        'stages = [dict(name="teacher", config="first.py"),'
        ' dict(name="student", config="second.py")]\n'
    )
    whole, broken = train(config, tmp_path / "whole"), tmp_path / "broken"
    train_and_kill(config, broken, broken / "student")
    teacher = broken / "teacher/iter_40.pth"
    before = teacher.stat().st_mtime_ns
    final = train(config, broken)
    assert final == broken / "student/iter_40.pth"
    assert teacher.stat().st_mtime_ns == before
    assert read_json(broken / "student/run.json")["resumed_from"] is not None
    assert_same_weights(teacher, tmp_path / "whole/teacher/iter_40.pth")
    assert_same_weights(final, whole)


def test_stages_hand_checkpoints_on(tmp_path):
    folder = staged(tmp_path, 'dict(type=ToyMethod, checkpoint="stage://small")')
    (folder / "staged/all.py").write_text(
        'stages = [dict(name="small", config="first.py"), dict(name="big", config="second.py"),'
        ' dict(name="none", config="second.py", options={"model.checkpoint": None})]\n'
    )
    work = tmp_path / "work"
    with pytest.raises(ValueError, match="does not fit ToyNet"):
        train(folder / "staged/all.py", work)
    assert (work / "small/iter_40.pth").is_file()
    assert train(folder / "staged/all.py", work, only=["none"]) == work / "none/iter_40.pth"


def test_a_student_goes_with_its_teacher(tmp_path):
    """Finished or broken, it does not go on with another stage's knowledge than it began with."""
    folder = staged(tmp_path, 'dict(type=SelfTaught, checkpoint="stage://small")')
    (folder / "staged/all.py").write_text(
        'stages = [dict(name="small", config="first.py"), dict(name="big", config="second.py")]\n'
    )
    work, other = tmp_path / "work", {"small.randomness.seed": 5}
    final = train(folder / "staged/all.py", work)
    assert list(read_json(work / "big/run.json")["sources"]) == ["small"]
    shutil.rmtree(work / "small")
    with pytest.raises(ValueError, match="big was made from small, trained with other settings"):
        train(folder / "staged/all.py", work, options=other)
    final.unlink()
    with pytest.raises(ValueError, match="big was made from small, trained with other settings"):
        train(folder / "staged/all.py", work, options=other)
    shutil.rmtree(work / "big")
    assert train(folder / "staged/all.py", work, options=other) == final


def test_a_training_goes_with_its_info_files(tmp_path, monkeypatch):
    """Labels are mended and the command is run again: what was finished is of the old ones."""
    known = {"info file data/train.pkl": "before"}
    monkeypatch.setattr("lidistill.engine.train.info_files", lambda cfg: known)
    final = train(CONFIG, tmp_path / "work")
    assert train(CONFIG, tmp_path / "work") == final
    known["info file data/train.pkl"] = "after"
    with pytest.raises(ValueError, match=r"made from info file data/train.pkl, which is another"):
        train(CONFIG, tmp_path / "work")
    assert train(CONFIG, tmp_path / "work", restart=True) == final


def test_a_stage_in_the_folder_of_another_run_is_noted_by_its_own_run(tmp_path):
    """Else a stage that was trained otherwise looks as before to those that it feeds."""
    cfg = load_config(CONFIG)
    cfg.model.checkpoint = "stage://small"
    for folder, key in ((tmp_path, "plain"), (tmp_path / "small", "own")):
        note_run(folder, key)
    made = {"small": tmp_path / "small/iter_4.pth"}
    assert fill_stage_checkpoints(cfg, made) == {"small": "own"}


def test_unknown_stage_and_unknown_config(tmp_path):
    cfg = load_config(CONFIG)
    cfg.model.checkpoint = "stage://missing"
    with pytest.raises(ValueError, match=r"has not run.*--cfg-options model\.checkpoint=FILE"):
        fill_stage_checkpoints(cfg, {})
    del cfg.model["checkpoint"]
    cfg.helper = [{"checkpoint": "stage://missing"}]  # no training reads it
    assert fill_stage_checkpoints(cfg, {}) == {}
    with pytest.raises(FileNotFoundError, match="found no"):
        load_config(tmp_path / "none.py")


def test_data_root_moves_every_path():
    cfg = load_config(CONFIG, data_root="/elsewhere")
    assert cfg.data_root == "/elsewhere"
    assert cfg.train_dataloader.dataset.root == "/elsewhere/points"


def test_fingerprint_ignores_where_it_runs():
    first, second = load_config(CONFIG), load_config(CONFIG)
    second.work_dir, second.resume = "/tmp/x", True
    assert fingerprint(first) == fingerprint(second)
    second.load_from = None
    assert fingerprint(first) == fingerprint(second)
    second.max_iters = 41
    assert fingerprint(first) != fingerprint(second)


def test_a_run_from_other_weights_is_another_run(undisturbed, tmp_path):
    """It was taken for finished, whatever the weights that it was to begin from."""
    start = {"iters": 2, "load_from": str(undisturbed)}
    assert train(CONFIG, tmp_path, options=start) == train(CONFIG, tmp_path, options=start)
    with pytest.raises(ValueError, match=r"another config.*load_from is .*iter_40.*, not set here"):
        train(CONFIG, tmp_path, options={"iters": 2})


def test_a_start_from_weights_of_something_else_is_refused(undisturbed, tmp_path):
    """A detector's own names for the student of a method: all of it stayed random."""
    state = torch.load(undisturbed, weights_only=False)["state_dict"]
    own = {name.removeprefix("student."): tensor for name, tensor in state.items()}
    torch.save({"state_dict": own}, tmp_path / "detector.pth")
    start = {"iters": 2, "load_from": str(tmp_path / "detector.pth")}
    words = r"none of the \d+ parameters of ToyMethod.*PretrainedParts"
    with pytest.raises(ValueError, match=words):
        train(CONFIG, tmp_path / "run", options=start)


def test_seconds_and_commits_are_of_all_starts_of_a_run(tmp_path, monkeypatch):
    final = train(CONFIG, tmp_path, options={"iters": 10})
    note = read_json(tmp_path / "run.json")
    assert note["process_s"] > 0
    assert note["commit"] == provenance.commit()
    cut = {key: value for key, value in note.items() if key != "checkpoint"}
    earlier = {"process_s": 500.0, "wall_s": 700.0, "commit": "abc"}
    write_json(tmp_path / "run.json", {**cut, **earlier})

    def fail(*_args):
        raise RuntimeError("a step that failed")

    with monkeypatch.context() as patched:
        patched.setattr("lidistill.engine.train._run", fail)
        with pytest.raises(RuntimeError, match="a step that failed"):
            train(CONFIG, tmp_path, options={"iters": 10})
    assert 500 <= read_json(tmp_path / "run.json")["process_s"] < 600
    assert train(CONFIG, tmp_path, options={"iters": 10}) == final
    again = read_json(tmp_path / "run.json")
    assert again["checkpoint"] == final.name
    assert (again["process_s"], again["wall_s"]) >= (500, 700)
    assert again["commit"] == f"abc, {note['commit']}"  # of all starts


def test_schedules_run_where_a_config_has_hooks_of_its_own(tmp_path, monkeypatch):
    """A list in a config takes the place of the base's: a ramp stayed at its start."""
    seen, original = [], ToyMethod.distill_losses
    monkeypatch.setattr(
        ToyMethod,
        "distill_losses",
        lambda self, *given: seen.append(self.progress) or original(self, *given),
    )
    train(CONFIG, tmp_path, options={"iters": 4, "custom_hooks": []})
    assert seen == [0.0, 0.25, 0.5, 0.75]
