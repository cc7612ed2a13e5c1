# SPDX-License-Identifier: Apache-2.0
"""Trials of configs and of the records of runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.engine.configs.read import load_config
from lidistill.engine.configs.shipped import copy_config
from lidistill.evaluation.results import ResultRow
from lidistill.evidence.page import to_markdown
from lidistill.evidence.record import Evidence, EvidenceRow, load_evidence, save_evidence
from lidistill.hooks.run_folder import finished_checkpoint, note_run, note_written, read_run
from lidistill.io import DataError
from lidistill.visualization.curves import read_scalars
from lidistill.visualization.report import Report
from lidistill.visualization.report_data import ReportData
from tests.robustness.mutate_form import FREE, OPTIONAL, RAW, ROWS, WORDS, Format, fresh, why
from tests.robustness.mutate_kinds import (
    ANY,
    JSON,
    TEXT,
    image,
)

OTHER = "another valid value"


# -- configs ---------------------------------------------------------------------------------------
def configs(root: Path) -> None:
    content = {"data_root": "data/toy", "max_iters": 40, "model": {"type": "Toy", "width": [1, 2]},
               "lr": 0.5, "load_from": None}  # fmt: skip
    (root / "base.json").write_text(json.dumps({"seed": 3}))
    (root / "config.json").write_text(json.dumps({"_base_": "base.json", **content}))
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in content.items()]
    (root / "config.yaml").write_text("_base_: base.json\n" + "".join(lines))
    words = "".join(f"{key} = {value!r}\n" for key, value in content.items())
    (root / "config.py").write_text("_base_ = ['base.json']\n" + words)


def _config(name: str) -> Callable[[Path], Any]:
    return lambda root: load_config(root / name, ["lr=0.25"], data_root="elsewhere").to_dict()


_VALUES = "a config holds any values; the verb that reads them judges"
_CONFIGS = tuple(
    Format(
        f"config.{form}",
        configs,
        f"config.{form}",
        _config(f"config.{form}"),
        ANY | kinds,
        why(_VALUES, *kinds, "flipped bits", "cut", "longer"),
        {"": _VALUES},
    )
    for form, kinds in (("py", TEXT), ("yaml", TEXT), ("json", JSON))
)


def copy_of_own(root: Path) -> Any:
    """What ``lidistill config copy`` makes of a file of the user's own."""
    target = fresh(root) / "copy.py"
    return copy_config(root / "config.py", target).read_text(encoding="utf-8")


_COPIED = "a copy holds the words of its source"
_COPY = Format(
    "config.copy",
    configs,
    "config.py",
    copy_of_own,
    ANY | TEXT,
    why(_COPIED, *TEXT, "flipped bits", "cut", "longer"),
    {"": _COPIED},
)


# -- records of runs -------------------------------------------------------------------------------
def records(root: Path) -> None:
    def row(name: str, twin: str | None) -> dict[str, Any]:
        return {
            "name": name, "twin": twin, "metric": "mIoU", "values": [0.5, 0.25], "seeds": [0, 1],
            "n": 8, "config": "demo.py", "wall_s": 75.5,
            "per_class": {"car": [0.5, 0.75], "bus": [None, 0.5]},
        }  # fmt: skip

    rows = [row("alone", None), row("taught", "alone")]
    save_evidence(
        Evidence("slidr", "world", "abc", "2 cores", "lidistill evidence slidr",
                 [EvidenceRow(**one, cost={"training_s": 3.5}) for one in rows]),
        root / "slidr.json",
    )  # fmt: skip
    work = root / "work"
    note_run(work, "key", {"lr": "0.5"}, wall_s=1.5, process_s=2.5, checkpoint="iter_3.pth")
    (work / "iter_3.pth").touch()
    (work / "run/vis_data").mkdir(parents=True)
    lines = [json.dumps({"loss": 1 / n, "lr": 0.5, "step": n}) + "\n" for n in range(1, 6)]
    (work / "run/vis_data/scalars.json").write_text("".join(lines))
    report = ReportData(
        work / "report", "SLidR", "Lead.", "world", method="taught",
        rows=[ResultRow(**one) for one in rows], commands=["lidistill train"],
        facts={"Commit": "abc"}, notes=["Synthetic."], class_colours={"car": (255, 176, 32)},
    )  # fmt: skip
    picture = np.random.default_rng(0).integers(0, 256, (9, 16, 3)).astype(np.uint8)
    report.add_picture(picture, "front", "superpixels", "Front")
    report.add_curve("Training", "loss", range(6), np.linspace(7, 3, 6))
    report.save()


def read_work_dir(root: Path) -> Any:
    work = root / "work"
    found = read_run(work)
    note_written(work, "run.json")
    return found, finished_checkpoint(work, found.get("config", ""), {}), _other_config(work)


def _other_config(work: Path) -> str:
    """The message for a run of another config; it quotes run_config.json."""
    try:
        finished_checkpoint(work, "another", {"lr": "0.1"})
    except DataError:
        raise
    except ValueError as error:
        return str(error)
    return ""


def read_report(root: Path) -> Any:
    return Report(ReportData.load(root / "work")).html()


def read_evidence(root: Path) -> Any:
    return load_evidence(root / "slidr.json"), to_markdown(root / "slidr.json", chart=True)


_RECORDS = (
    Format(
        "evidence.json",
        records,
        "slidr.json",
        read_evidence,
        ANY | JSON,
        why(RAW, "flipped bits", "absurd value")
        | why(WORDS, "wrong type", "entry twice")
        | why(OPTIONAL, "missing key", "null"),
        FREE,
    ),
    Format(
        "run.json",
        records,
        "work/run.json",
        read_work_dir,
        ANY | JSON,
        why(
            WORDS,
            "flipped bits",
            "wrong type",
            "entry twice",
            "null",
            "list for a record",
            "absurd value",
        )
        | why(OPTIONAL, "missing key", "wrong root"),
        FREE,
    ),
    Format(
        "run_config.json",
        records,
        "work/run_config.json",
        read_work_dir,
        ANY | JSON,
        why(WORDS, *JSON, "flipped bits")
        | why("it only explains another error", "missing", "folder"),
        FREE,
    ),
    Format(
        "scalars.json",
        records,
        "work/run/vis_data/scalars.json",
        lambda root: read_scalars(root / "work"),
        ANY | TEXT,
        why(RAW, "flipped bits", "another value")
        | why("a kill may cut its last line", "cut", "longer", "empty")
        | why("other entries than numbers are passed over", "wrong type")
        | why("a loss may leave all bounds", "absurd value", "NaN")
        | why(ROWS, "line gone"),
        FREE,
    ),
    Format(
        "report.json",
        records,
        "work/report/*.json",
        read_report,
        ANY | JSON,
        why(WORDS, "flipped bits", "wrong type", "entry twice")
        | why(OPTIONAL, "missing key", "NaN", "absurd value", "null", "wrong root"),
        FREE,
    ),
    Format(
        "report.png",
        records,
        "work/report/pictures/*.png",
        read_report,
        ANY | image("PNG"),
        why(OTHER, "wrong shape", "wrong type")
        | why("what follows the end of a PNG is no part of it", "longer"),
        FREE,
    ),
)

RECORDS = (*_CONFIGS, _COPY, *_RECORDS)
