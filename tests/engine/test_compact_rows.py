# SPDX-License-Identifier: Apache-2.0
"""Tables of compact detectors: which rows, paired weights, what a row stores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.runner import set_random_seed

from lidistill import compat
from lidistill.engine import compact_rows, evidence_compact, evidence_graphs, evidence_zoo
from lidistill.engine.compact_rows import DETECTORS, CompactRows, outcome
from lidistill.engine.test import teachers_of
from lidistill.evaluation.evidence import Evidence, EvidenceRow, save_evidence
from lidistill.evaluation.kitti.ap import KittiScores
from lidistill.evaluation.nuscenes.metric import DetectionScores
from lidistill.io import DataError
from lidistill.registry import MODELS

GAINS = {"fitnets": 0.01, "at": -0.02, "sp": 0.0, "pkd": 0.04, "pivotal": 0.03}


@pytest.fixture
def configs(monkeypatch, tmp_path):
    """Configs that rows would train, by row; nothing is made or trained."""
    seen: dict[str, object] = {}

    def train_one(cfg, folder, _checkpoints, quiet):
        seen[Path(folder).name] = cfg
        Path(folder).mkdir(parents=True, exist_ok=True)
        return Path(folder) / "final.pth"

    monkeypatch.setattr(compact_rows, "world_root", lambda out, seed, layout: out / layout)
    monkeypatch.setattr(compact_rows, "train_one", train_one)
    scores = DetectionScores(map=0.5, nds=0.4, ap={"car": 0.5}, boxes=9, protocol="p")
    monkeypatch.setattr(compact_rows, "evaluate_detector", lambda *_: scores)
    monkeypatch.setattr(compact_rows, "cost_of", lambda cfg: {"parameters": 1.0})
    monkeypatch.setattr(compact_rows, "read_json", lambda path: {"process_s": 2.0})
    return seen


def rows_of(detector: str, tmp_path: Path) -> CompactRows:
    return CompactRows(DETECTORS[detector], tmp_path / "runs", tmp_path / "world", iters=40)


def built_student(cfg: object) -> dict[str, torch.Tensor]:
    """The student's weights as a training starts with them: built, then seeded, then drawn."""
    compat.apply()
    set_random_seed(cfg.randomness.seed)
    for teacher in teachers_of(cfg.model):
        teacher["checkpoint"] = None
    model = MODELS.build(cfg.model)
    torch.manual_seed(cfg.randomness.seed)  # as ResumableTrainLoop does
    model.init_weights()
    return getattr(model, "student", model).state_dict()


@pytest.mark.parametrize("detector", DETECTORS)
def test_students_of_a_seed_start_alike(detector, configs, tmp_path):
    rows = rows_of(detector, tmp_path)
    found = rows.student().run(3)
    assert found["value"] == 0.5
    assert rows.student(1.5).config == f"{DETECTORS[detector].graphs}, 60 iterations"
    assert found["cost"] == {"parameters": 1.0, "training_s": 2.0}
    for row in (rows.student(2.0), *rows.point_distiller(), rows.zoo("pkd")):
        assert row.twin == "student"
        row.run(3)
    assert configs["teacher"].train_cfg.max_iters == 1200
    assert configs["student_2_times_as_long"].train_cfg.max_iters == 80
    alone = built_student(configs["student"])
    for name in ("student_+_PointDistiller", "student_+_pkd"):
        cfg = configs[name]
        assert cfg.train_cfg.max_iters == 40
        (teacher,) = teachers_of(cfg.model)
        assert teacher["checkpoint"] == str(tmp_path / "runs/seed_3/teacher/final.pth")
        distilled = built_student(cfg)
        assert alone.keys() == distilled.keys()
        assert all(torch.equal(value, distilled[key]) for key, value in alone.items()), name


def test_teachers_may_train_longer_too(configs, tmp_path):
    rows = CompactRows(DETECTORS["second"], tmp_path / "runs", iters=40, teacher_iters=90)
    assert rows.teacher().config == "configs/detection/second_world.py, 90 iterations"
    rows.zoo("pkd").run(3)
    assert configs["teacher"].train_cfg.max_iters == 90
    assert configs["student_+_pkd"].train_cfg.max_iters == 40


def test_the_zoo_is_the_same_for_all():
    names = [CompactRows(DETECTORS[name], Path()).objectives() for name in DETECTORS]
    assert names[0] == names[1] == names[2]
    assert len(set(names[0])) == 8


def write_record(folder: Path, detector: str) -> None:
    values = {"student": 0.3, **{f"student + {n}": 0.3 + gain for n, gain in GAINS.items()}}
    rows = [
        EvidenceRow(name, None if name == "student" else "student", "mAP", [value], [0], 1, "", 1.0)
        for name, value in values.items()
    ]
    made = Evidence(f"zoo_{detector}", "world", "abc", "cpu", "command", rows)
    save_evidence(made, folder / f"zoo_{detector}.json")


def test_the_best_of_the_zoo_go_into_the_table(monkeypatch, tmp_path):
    monkeypatch.setattr(evidence_zoo, "RECORDS", tmp_path)
    with pytest.raises(DataError, match="lidistill evidence zoo_second"):
        evidence_compact.PLANS["second"](tmp_path)
    write_record(tmp_path, "second")
    plan = evidence_compact.PLANS["second"](tmp_path)
    assert [row.name for row in plan.rows] == [
        "teacher",
        "student",
        "student, 1.5 times as long",
        "student, 1.75 times as long",
        "student + PointDistiller",
        "student + pkd",
        "student + pivotal",
        "student + fitnets",
    ]
    longer = evidence_compact.PLANS["second_longer"](tmp_path)
    assert [row.name for row in longer.rows[2:]] == [
        "student, 1.5 times as long",
        "student + pkd",
        "student + pivotal",
    ]
    assert [row.config.split()[-2] for row in longer.rows[1:]] == ["1600", "2400", "1600", "1600"]
    longest = evidence_compact.PLANS["second_longest"](tmp_path)
    assert [row.name for row in longest.rows[3:]] == [
        "student + PointDistiller",
        "student + pkd",
        "student + pivotal",
    ]
    iterations = [row.config.split()[-2] for row in longest.rows]
    assert iterations == ["4800", "4800", "7200", "4800", "4800", "4800"]
    assert plan.dataset == "embedded world bench, seed 0, KITTI layout"
    assert evidence_zoo.PLANS["second"](tmp_path).dataset.count("seed 7") == 1


@pytest.mark.parametrize("detector", DETECTORS)
def test_choices_of_point_distiller_are_made_one_at_a_time(detector, configs, tmp_path):
    rows = rows_of(detector, tmp_path)
    for name, change in evidence_graphs.VARIANTS.items():
        rows.graphs(name, change).run(3)
    models = {name.split("_+_")[1]: cfg.model for name, cfg in configs.items() if "_+_" in name}
    paper, heavy, alike = (
        models[name] for name in ("PointDistiller", "term_times_4", "all_places_alike")
    )
    assert set(paper.weights.values()) == set(alike.weights.values()) == {1.0}
    assert set(heavy.weights.values()) == {4.0}
    assert heavy.weights.keys() == heavy.graphs.keys()
    assert paper.reweight
    assert heavy.reweight
    assert not alike.reweight
    more = models["all_alike_places_times_4"].graphs
    assert all(more[name].queries == 4 * graph.queries for name, graph in paper.graphs.items())
    assert evidence_graphs.PLANS[detector](tmp_path).seeds == (0,)


def test_kitti_outcome_is_moderate_3d_ap():
    table = {"3d": {"R40": (3.0, 2.0, 1.0)}}
    scores = KittiScores(
        {"Car": table, "Cyclist": {"3d": {"R40": (0.0, 4.0, 0.0)}}},
        {},
        {"Car": (1, 20, 30), "Cyclist": (1, 5, 6)},
        7,
        "p",
    )
    assert outcome(scores) == {
        "value": 3.0, "n": 25, "per_class": {"Car": 2.0, "Cyclist": 4.0}, "protocol": "p",
    }  # fmt: skip
