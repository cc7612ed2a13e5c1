#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Try lidistill with several Pythons, torches and numpys; writes docs/matrix.json.

    tools/matrix.py --list                  the cells, and what is known of each
    tools/matrix.py                         try all that have no outcome yet, one by one
    tools/matrix.py --only 3.12 --again     those of Python 3.12 once more

A cell is an environment made by tools/setup_env.sh, as users make it, where `lidistill doctor`,
a dry run of two configs and a choice of quick tests must pass. Its outcome is one of

    passed      with the versions that were installed and the number of tests
    failed      with the first error
    no wheel    pip finds none: of torch, of numpy, or of something that lidistill stands on
    not tried   no such Python on this machine, or a download of gigabytes (--cuda allows it)

The record is written after each cell, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lidistill.io import read_json, write_json  # noqa: E402
from lidistill.provenance import commit, hardware  # noqa: E402

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TORCHES = ("2.4.1", "2.6.0", "2.8.0", "2.10.0", "2.13.0", "2.14.1", "2.15.0")
NUMPYS = ("1", "2")
LAST_WITH_NUMPY_1 = (3, 12)
CONFIGS = ("slidr/demo_pretrain", "detection/second_world")
TESTS = (
    "tests/geometry",
    "tests/ops/boxes",
    "tests/ops/points",
    "tests/ops/images",
    "tests/ops/sparse",
    "tests/losses",
    "tests/compat",
    "tests/test_doctor.py",
)
SHOWN = ("torch", "numpy", "numba", "scipy", "spconv", "opencv-python-headless", "open3d")
LARGE = r"nvidia_(cublas|cudnn|cufft|cusolver|cusparse|nccl)"  # two gigabytes together
TIME_LIMIT_S = 3600


@dataclass(frozen=True)
class Cell:
    """One combination of the table."""

    python: str
    torch: str
    numpy: str

    @property
    def name(self) -> str:
        """As --only looks for and the record keeps."""
        return f"python{self.python}-torch{self.torch}-numpy{self.numpy}"


@dataclass
class Outcome:
    """What became of a cell; ``detail`` is for people."""

    outcome: str
    detail: str
    versions: dict[str, str] = field(default_factory=dict)
    seconds: int = 0


class EndedError(Exception):
    """A cell ended early with this outcome."""

    def __init__(self, outcome: str, detail: str) -> None:
        super().__init__(detail)
        self.outcome = Outcome(outcome, detail)


def main() -> int:
    args = parser().parse_args()
    record = read_json(args.out) if args.out.exists() else {"rows": []}
    rows = {row["name"]: row for row in record["rows"]}
    cells = [
        Cell(python, torch, numpy)
        for python in PYTHONS
        for torch in TORCHES
        for numpy in NUMPYS
        if all(word in Cell(python, torch, numpy).name for word in args.only)
    ]
    if args.list:
        for cell in cells:
            row = rows.get(cell.name, {"outcome": "no outcome yet", "detail": ""})
            print(f"{cell.name:36s} {row['outcome']:14s} {row['detail']}")
        return 0
    for place, cell in enumerate(cells, start=1):
        known = rows.get(cell.name, {}).get("outcome")
        if known is not None and not args.again and not (args.cuda and known == "not tried"):
            continue
        print(f"[{place}/{len(cells)}] {cell.name} ...", flush=True)
        outcome = try_cell(cell, args)
        print(f"    {outcome.outcome}: {outcome.detail} ({outcome.seconds} s)", flush=True)
        if args.dry_run:
            continue
        rows[cell.name] = {"name": cell.name, **asdict(cell), "commit": commit(), **asdict(outcome)}
        ordered = sorted(rows.values(), key=in_order)
        write_json(args.out, {"hardware": hardware(), "tests": TESTS, "rows": ordered})
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="cells with all these in their names"
    )
    made.add_argument("--again", action="store_true", help="cells that have an outcome, too")
    made.add_argument("--list", action="store_true", help="show cells and outcomes, try none")
    made.add_argument(
        "--dry-run", action="store_true", help="ask pip what it finds; install and write nothing"
    )
    made.add_argument(
        "--cuda", action="store_true", help="take torch's CUDA builds where pip has no others"
    )
    made.add_argument("--keep", action="store_true", help="leave the environments there")
    made.add_argument("--folder", type=Path, default=ROOT / "work_dirs/matrix", help="of those")
    made.add_argument("--out", type=Path, default=ROOT / "docs/matrix.json", help="the record")
    return made


def in_order(row: dict) -> tuple:
    return PYTHONS.index(row["python"]), TORCHES.index(row["torch"]), row["numpy"]


def try_cell(cell: Cell, args: argparse.Namespace) -> Outcome:
    """Everything about one cell."""
    started = time.monotonic()
    folder = args.folder / f"python{cell.python}-torch{cell.torch}"
    try:
        python = find_python(cell)
        look_for_torch(cell, python, args)
        if args.dry_run:
            return Outcome("would be tried", f"with {python}")
        set_up(cell, python, folder)
        outcome = check(folder)
    except EndedError as ended:
        outcome = ended.outcome
    finally:
        if cell.numpy == NUMPYS[-1] and not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    outcome.seconds = round(time.monotonic() - started)
    return outcome


def find_python(cell: Cell) -> str:
    """The interpreter: on the path, or one of pyenv's."""
    numbers = tuple(int(number) for number in cell.python.split("."))
    if cell.numpy == "1" and numbers > LAST_WITH_NUMPY_1:
        raise EndedError("no wheel", "numpy 1 ends with Python 3.12")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = sorted(pyenv.glob(f"{cell.python}.*/bin/python"))
    on_path = shutil.which(f"python{cell.python}")
    candidates += [Path(on_path)] if on_path else []
    for candidate in candidates:
        if run(candidate, "-c", "import venv, ensurepip").returncode == 0:
            return str(candidate)
    raise EndedError("not tried", f"no Python {cell.python} on this machine")


def look_for_torch(cell: Cell, python: str, args: argparse.Namespace) -> None:
    """End here where pip has no such torch, or only one with gigabytes of CUDA to download."""
    report = args.folder / "report.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    command = ["-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    done = run(python, *command, "--report", report, f"torch=={cell.torch}")
    if "No matching distribution found" in done.stderr:
        raise EndedError("no wheel", f"torch {cell.torch} for Python {cell.python}")
    if done.returncode:
        raise EndedError("failed", first_error(done.stderr))
    addresses = [
        item["download_info"]["url"]
        for item in json.loads(report.read_text(encoding="utf-8"))["install"]
    ]
    remote = [url.rpartition("/")[2] for url in addresses if not url.startswith("file:")]
    large = [name for name in remote if re.match(LARGE, name)]
    if large and not args.cuda:
        raise EndedError(
            "not tried", f"pip's torch {cell.torch} brings CUDA, gigabytes to download"
        )


def set_up(cell: Cell, python: str, folder: Path) -> None:
    """Make the environment as a user does."""
    environment = {
        "LIDISTILL_PYTHON": python,
        "LIDISTILL_TORCH": cell.torch,
        "LIDISTILL_NUMPY": cell.numpy,
        "LIDISTILL_SPCONV": "cpu",
    }
    done = run("sh", ROOT / "tools/setup_env.sh", folder, environment=environment)
    if done.returncode:
        said = done.stderr + done.stdout
        missing = re.search(r"No matching distribution found for (\S+)", said)
        if missing and "connection broken" not in said:  # else the index did not answer
            raise EndedError("no wheel", missing.group(1))
        raise EndedError("failed", f"setup: {first_error(said)}")


def check(folder: Path) -> Outcome:
    """Doctor, a training step of two configs, tests."""
    python = folder / "bin" / "python"
    listed = json.loads(run(python, "-m", "pip", "list", "--format=json").stdout)
    versions = {row["name"]: row["version"] for row in listed if row["name"] in SHOWN}
    done = run(python, "-m", "lidistill.cli", "doctor", "--imports", "--json")
    if done.returncode:
        findings = json.loads(done.stdout) if done.stdout.lstrip().startswith("[") else []
        missing = [f"{f['name']}: {f['detail']}" for f in findings if f["state"] == "missing"]
        return Outcome(
            "failed", f"doctor: {'; '.join(missing) or first_error(done.stderr)}", versions
        )
    for config in CONFIGS:
        step = ("dry_run", config, "--synthetic", "3000", "--random-teachers", "--repeats", "1")
        done = run(python, "-m", "lidistill.cli", *step)
        if done.returncode:
            return Outcome(
                "failed", f"{config}: {first_error(done.stderr + done.stdout)}", versions
            )
    quick = ("-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu")
    done = run(python, "-m", "pytest", *quick, *TESTS)
    last = done.stdout.strip().splitlines()[-1:] or ["no output"]
    summary = re.sub(r" in [\d.]+s.*|=", "", last[0]).strip()
    if done.returncode:
        return Outcome("failed", f"{summary}; first: {first_error(done.stdout)}", versions)
    return Outcome("passed", summary, versions)


def first_error(text: str) -> str:
    """The first line that says what is wrong, or the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if re.match(r"(FAILED|ERROR|error|setup failed|E  )", line)]
    return (wrong or lines[-1:] or ["no output"])[0][:300]


def run(*command: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """A command on one thread, in the checkout; more than an hour is an error of its own."""
    words = [str(word) for word in command]
    own = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", **(environment or {})}
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        return subprocess.run(
            words,
            cwd=ROOT,
            env=own,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EndedError("failed", f"more than {TIME_LIMIT_S} s: {' '.join(words[:4])}") from None


if __name__ == "__main__":
    sys.exit(main())
