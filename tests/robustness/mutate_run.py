# SPDX-License-Identifier: Apache-2.0
"""Trials in a process of their own: it may crash, hang or ask for memory; the next goes on.

tools/mutate_inputs.py --seed 0 --trials 2000 [--format kitti.calib] [--only 17]
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.robustness.mutate_detections import DETECTIONS
from tests.robustness.mutate_form import Format
from tests.robustness.mutate_judge import (
    CRASH,
    FAULTS,
    HANG,
    NATURE,
    OUTCOMES,
    SAME,
    Verdict,
    judge_error,
    judge_result,
    plain,
)
from tests.robustness.mutate_kinds import FOLDER, MISSING
from tests.robustness.mutate_kitti import KITTI, SEMANTIC_KITTI
from tests.robustness.mutate_nuscenes import NUSCENES, OWN
from tests.robustness.mutate_products import PRODUCTS
from tests.robustness.mutate_records import RECORDS
from tests.robustness.mutate_scores import SCORED
from tests.robustness.mutate_tracks import TRACKS
from tests.robustness.mutate_views import VIEWS

_INPUTS = (*KITTI, *SEMANTIC_KITTI, *NUSCENES, *OWN, *TRACKS, *SCORED)
FORMATS = {form.name: form for form in (*_INPUTS, *PRODUCTS, *DETECTIONS, *RECORDS, *VIEWS)}

PATIENCE_S = 20.0
SPARE_BYTES = 6 << 30  # what one reading may take beyond what the process has


@dataclass(frozen=True)
class Trial:
    """One damaged file, made again from three words."""

    form: str
    number: int
    seed: int

    @property
    def command(self) -> str:
        return (
            f"tools/mutate_inputs.py --seed {self.seed} --format {self.form} --only {self.number}"
        )


@dataclass(frozen=True)
class Result:
    trial: Trial
    mutation: str
    file: str
    verdict: Verdict


def planned(forms: Sequence[str], trials: int, seed: int) -> list[Trial]:
    """So many trials, in turn over the formats."""
    return [Trial(forms[n % len(forms)], n // len(forms), seed) for n in range(trials)]


def damaged(path: Path, form: Format, trial: Trial) -> tuple[str, bytes]:
    """A mutation that applies, and what it makes of the file; equal words give equal bytes."""
    rng = np.random.default_rng([trial.seed, trial.number, zlib.crc32(trial.form.encode())])
    data = path.read_bytes()
    while True:
        name = str(rng.choice(sorted(form.mutations)))
        with contextlib.suppress(IndexError):  # nothing there to change
            changed = form.mutations[name](data, rng)
            if changed is not None and changed != data:
                return name, changed


def attempt(form: Format, root: Path, trial: Trial, whole: Any) -> Result:
    """Damage one file, read, judge, and put the file back."""
    rng = np.random.default_rng([trial.seed, trial.number])
    files = form.files(root)
    path = files[int(rng.integers(len(files)))]
    mutation, changed = damaged(path, form, trial)
    before = path.read_bytes()
    try:
        path.unlink()
        if changed is FOLDER:
            path.mkdir()
        elif changed is not MISSING:
            path.write_bytes(changed)
        try:
            found = plain(form.read(root))
        except Exception as error:
            verdict = judge_error(error, path, root)
        else:
            verdict = judge_result(whole, found, mutation, form)
    finally:
        if path.is_dir():
            path.rmdir()
        path.write_bytes(before)
    return Result(trial, mutation, str(path.relative_to(root)), verdict)


class Roots:
    """Each format's files, made once."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.whole: dict[Any, Any] = {}

    def __call__(self, form: Format) -> Path:
        root = self.top / f"{form.make.__module__.rpartition('.')[2]}_{form.make.__name__}"
        if not root.is_dir():
            root.mkdir()
            form.make(root)
        return root

    def first(self, form: Format) -> Any:
        """What the undamaged files give; the same again when read again."""
        key = form.make, form.read
        if key not in self.whole:
            root = self(form)
            self.whole[key] = plain(form.read(root))
            again = judge_result(self.whole[key], plain(form.read(root)), "", form)
            if again.outcome != SAME:
                raise RuntimeError(f"{form.name}: read twice, two results: {again.why}")
        return self.whole[key]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What verbs say goes nowhere, whichever stream they hold."""
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(nowhere)


def _work(trials: Sequence[Trial], roots: Roots, pipe: Any) -> None:
    with _silence():
        _send_results(trials, roots, pipe)


def _send_results(trials: Sequence[Trial], roots: Roots, pipe: Any) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for trial in trials:
        form = FORMATS[trial.form]
        pipe.send(attempt(form, roots(form), trial, roots.first(form)))
    pipe.send(None)


def _prepared(top: Path, trials: Sequence[Trial]) -> Roots:
    roots = Roots(top)
    with _silence():
        for name in dict.fromkeys(trial.form for trial in trials):
            roots.first(FORMATS[name])
    return roots


def run_trials(trials: Sequence[Trial], top: Path) -> Iterator[Result]:
    """Results in order; a process that hangs or dies is one fault, and another takes over."""
    top.mkdir(parents=True)
    roots = _prepared(top, trials)
    context = multiprocessing.get_context("fork")  # no second import, nothing made again
    done = 0
    while done < len(trials):
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(trials[done:], roots, theirs))
        worker.start()
        theirs.close()
        outcome = ""
        while not outcome:
            try:
                result = ours.recv() if ours.poll(PATIENCE_S) else HANG
            except EOFError:
                result = CRASH
            if isinstance(result, Result):
                yield result
                done += 1
                continue
            outcome = result or "done"
        worker.kill()
        worker.join()
        if outcome != "done":
            yield Result(trials[done], "?", "?", Verdict(outcome, f"exit code {worker.exitcode}"))
            done += 1
            shutil.rmtree(top)  # its file was not put back
            top.mkdir()
            roots = _prepared(top, trials[done:])


def table(results: Sequence[Result]) -> str:
    """Format x outcome."""
    shown = [*OUTCOMES[:3], *(o for o in FAULTS if any(r.verdict.outcome == o for r in results))]
    lines = [f"{'format':<26}" + "".join(f"{name:>16}" for name in [*shown, "all"])]
    counts = Counter((r.trial.form, r.verdict.outcome) for r in results)
    for form in [*dict.fromkeys(sorted(r.trial.form for r in results)), "all"]:
        row = [
            sum(
                n
                for (f, o), n in counts.items()
                if f in (form, *([f] * (form == "all"))) and o == x
            )
            for x in shown
        ]
        lines.append(f"{form:<26}" + "".join(f"{n:>16}" for n in [*row, sum(row)]))
    return "\n".join(lines)


def natures(results: Sequence[Result]) -> str:
    """What passed as undetectable: format, mutation, reason."""
    found = Counter(
        (r.trial.form, r.mutation, r.verdict.why) for r in results if r.verdict.outcome == NATURE
    )
    return "\n".join(f"  {f:<26}{m:<18}{n:>4}  {why}" for (f, m, why), n in sorted(found.items()))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Damage input files and see what the readers say.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--format", action="append", choices=sorted(FORMATS), metavar="NAME")
    parser.add_argument("--only", type=int, help="this trial of one --format, with its message")
    parser.add_argument("--list", action="store_true", help="names of the formats")
    args = parser.parse_args(argv)
    say = sys.stdout.write
    if args.list:
        say("\n".join(sorted(FORMATS)) + "\n")
        return 0
    forms = args.format or sorted(FORMATS)
    trials = planned(forms, args.trials, args.seed)
    if args.only is not None:
        trials = [Trial(form, args.only, args.seed) for form in forms]
    memory = Path("/dev/shm")
    top = Path(tempfile.mkdtemp(prefix="mutate", dir=memory if memory.is_dir() else None))
    results = []
    try:
        for result in run_trials(trials, top / "roots"):
            results.append(result)
            bad = result.verdict.outcome in FAULTS
            if bad or args.only is not None:
                say(
                    f"{result.verdict.outcome}: {result.mutation} of {result.file}: "
                    f"{result.verdict.why}\n  {result.trial.command}\n"
                )
                sys.stdout.flush()
    finally:
        shutil.rmtree(top, ignore_errors=True)
    if args.only is None:
        say(f"undetectable by nature:\n{natures(results)}\n{table(results)}\n")
    return int(any(result.verdict.outcome in FAULTS for result in results))
