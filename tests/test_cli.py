# SPDX-License-Identifier: Apache-2.0
"""The command: overview without heavy imports, one clear message for an error, doors in tools/."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lidistill import __version__, cli

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Adds a verb ``probe`` whose run is given by the test."""

    def add(run, arguments=lambda parser: parser.add_argument("--number", type=int, default=3)):
        module = types.ModuleType("lidistill_probe_verb")
        module.HELP = "a verb of this test"
        module.add_arguments = arguments
        module.run = run
        monkeypatch.setitem(sys.modules, "lidistill_probe_verb", module)
        monkeypatch.setitem(cli.VERBS, "probe", "lidistill_probe_verb")
        monkeypatch.setattr(cli, "_module_path", lambda name: Path(__file__))

    return add


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_a_list_that_is_given_twice_is_taken_whole(name):
    """argparse's default keeps the second alone: ``--cfg-options a=1 --cfg-options b=2``."""
    parser = argparse.ArgumentParser()
    importlib.import_module(cli.VERBS[name]).add_arguments(parser)
    parsers = [parser]
    for each in parsers:
        for action in each._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif action.option_strings and action.nargs in ("+", "*"):
                assert type(action).__name__ in ("_ExtendAction", "_AppendAction"), action


def test_overview_names_every_verb(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in cli.VERBS:
        assert f"  {name} " in text


def test_overview_imports_nothing_heavy():
    code = (
        "import sys; from lidistill.cli import main; main(['--help']);"
        "sys.exit(','.join({'torch', 'numpy', 'mmengine', 'spconv'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_every_verb_has_its_module_and_help_line(name, capsys):
    line = cli.help_line(name)
    assert line
    assert len(line) < 100
    assert line != "(not in this installation)"
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"lidistill {name}" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == f"lidistill {__version__}"


def test_arguments_reach_the_verb_and_its_code_comes_back(verb):
    seen = []
    verb(lambda args: seen.append(args.number) or 7)
    assert cli.main(["probe", "--number", "5"]) == 7
    assert seen == [5]


def test_help_shows_defaults_that_say_something(verb, capsys):
    def arguments(parser):
        parser.add_argument("--depth", type=int, default=3, help="how deep")
        parser.add_argument("--quick", action="store_true", help="be quick")
        parser.add_argument("--out", help="where to")

    verb(lambda args: 0, arguments)
    with pytest.raises(SystemExit):
        cli.main(["probe", "--help"])
    shown = capsys.readouterr().out
    assert shown.count("(default: ") == 1
    assert "how deep (default: 3)" in shown


def test_help_of_sub_commands_shows_defaults_alike(capsys):
    for dataset in ("nuscenes", "kitti", "semantickitti"):
        with pytest.raises(SystemExit):
            cli.main(["create_data", dataset, "--help"])
        shown = capsys.readouterr().out
        assert "--restart" in shown
        assert "(default: None)" not in shown
        assert "(default: False)" not in shown
        assert "(default: loky)" in shown


def test_a_verb_that_returns_nothing_succeeded(verb):
    verb(lambda args: None)
    assert cli.main(["probe"]) == 0


@pytest.mark.parametrize(
    "error",
    [
        ValueError("expected 3 [bold]cameras[/bold], got 2"),
        FileNotFoundError(2, "No such file or directory", "data/nuscenes"),
        ImportError("no module named ray; run: pip install lidistill[ray]"),
    ],
)
def test_user_errors_are_one_message(verb, error, capsys):
    def run(args):
        raise error

    verb(run)
    assert cli.main(["probe"]) == 1
    printed = capsys.readouterr().err
    assert printed.strip() == f"error: {error}"
    with pytest.raises(type(error)):
        cli.main(["probe", "--debug"])
    with pytest.raises(type(error)):
        cli.main(["--debug", "probe"])


def test_data_errors_are_user_errors():
    from lidistill.io import DataError

    assert issubclass(DataError, cli.USER_ERRORS)


def test_faults_of_the_program_keep_their_traceback(verb):
    def run(args):
        raise RuntimeError("a fault")

    verb(run)
    with pytest.raises(RuntimeError, match="a fault"):
        cli.main(["probe"])


def test_interrupt(verb, capsys):
    def run(args):
        raise KeyboardInterrupt

    verb(run)
    assert cli.main(["probe", "--number", "1"]) == 130
    assert "`lidistill probe --number 1` starts again" in capsys.readouterr().err


def test_unknown_verb_names_the_nearest(capsys):
    assert cli.main(["trian"]) == 1
    assert "did you mean train" in capsys.readouterr().err


def test_verb_without_module_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setitem(cli.VERBS, "ghost", "lidistill.ghost")
    assert cli.main(["ghost"]) == 1
    message = capsys.readouterr().err
    assert "lidistill.ghost" in message
    assert "make setup" in message
    assert cli.help_line("ghost") == "(not in this installation)"


def test_flag_without_verb_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--debug"])
    assert stop.value.code == 2
    assert "expected a verb" in capsys.readouterr().err


@pytest.mark.parametrize("door", ["train", "test", "create_data", "show_config"])
def test_tools_are_doors_to_the_verbs(door):
    path = ROOT / "tools" / f"{door}.py"
    assert path.stat().st_mode & 0o100
    assert f'enter("{door}")' in path.read_text()


def test_a_door_opens():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "show_config.py"), "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "lidistill show_config" in done.stdout


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "tools").glob("*.sh")))
def test_shell_scripts_parse_and_are_executable(script):
    path = ROOT / "tools" / script
    assert path.stat().st_mode & 0o100
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


def run_launcher(script: str, tool: str, tmp_path: Path, *arguments: str, **env: str) -> list[str]:
    """The command line that a launcher script gives to ``tool``."""
    fake = tmp_path / tool
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    done = subprocess.run(
        [str(ROOT / "tools" / script), *arguments],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_dist_train_gives_torchrun_its_arguments(tmp_path):
    words = run_launcher(
        "dist_train.sh", "torchrun", tmp_path, "c.py", "4", "--seed", "1", PORT="29501"
    )
    assert "--nproc_per_node=4" in words
    assert "--master_port=29501" in words
    assert words[-5:] == ["c.py", "--launcher", "pytorch", "--seed", "1"]


def test_slurm_train_gives_srun_its_arguments(tmp_path):
    words = run_launcher(
        "slurm_train.sh", "srun", tmp_path, "part", "job", "c.py", "--seed", "1", GPUS="4"
    )
    assert "--partition=part" in words
    assert "--job-name=job" in words
    assert "--gres=gpu:4" in words
    assert "--ntasks=4" in words
    assert words[-5:] == ["c.py", "--launcher", "slurm", "--seed", "1"]


@pytest.mark.parametrize("script", ["dist_train.sh", "slurm_train.sh"])
def test_launchers_say_their_usage(script):
    done = subprocess.run([str(ROOT / "tools" / script)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: tools/" in done.stderr
