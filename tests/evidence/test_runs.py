# SPDX-License-Identifier: Apache-2.0
"""Tables as declared: which rows, paired weights, what a row stores and what it cost."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import set_random_seed

from lidistill import compat
from lidistill.distill.unlabelled import refuse_without_teacher
from lidistill.engine.configs.stages import fill_stage_checkpoints
from lidistill.engine.test import teachers_of
from lidistill.evaluation.kitti.ap import KittiScores
from lidistill.evaluation.nuscenes.breakdown import Group
from lidistill.evaluation.nuscenes.metric import DetectionScores
from lidistill.evidence import detectors, runs, scores
from lidistill.evidence.cli import make_plan, plan_names
from lidistill.evidence.detectors import CENTERPOINT, POINTPILLARS, SECOND, graph_choices, students
from lidistill.evidence.driver import run_plan
from lidistill.evidence.page import to_markdown
from lidistill.evidence.plan import EvidencePlan, Row
from lidistill.evidence.plans import real_few_labels, xray_few_labels
from lidistill.evidence.record import Evidence, EvidenceRow, save_evidence
from lidistill.evidence.runs import Runs, plan_of
from lidistill.evidence.scores import detection_outcome
from lidistill.evidence.table import STAGE, Line, Table
from lidistill.evidence.worlds import KITTI, World
from lidistill.io import DataError, write_json
from lidistill.registry import MODELS

DETECTORS = {"pointpillars": POINTPILLARS, "second": SECOND, "centerpoint": CENTERPOINT}
GAINS = {"fitnets": 0.01, "at": -0.02, "sp": 0.0, "pkd": 0.04, "pivotal": 0.03}
PLANS = Path(runs.__file__).parent / "plans"


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Configs that lines would train, by the start of their folder; nothing is made or trained."""
    seen: dict[str, object] = {}

    def train_one(cfg, folder, _checkpoints, quiet):
        assert quiet
        fill_stage_checkpoints(cfg, {})  # refuses a line that leaves the name of a stage
        seen[folder.name.rpartition("_")[0]] = cfg
        name = folder.name.rpartition("_")[0]
        note = {"config": "x", "wall_s": 3.0, "process_s": 2.0, "commit": f"of {name}"}
        write_json(folder / "run.json", note)
        return folder / "final.pth"

    monkeypatch.setattr(World, "root", lambda world: tmp_path / world.layout)
    monkeypatch.setattr(runs, "train_one", train_one)
    found = DetectionScores(
        map=0.5, nds=0.4, ap={"car": 0.5}, boxes=9, objects={"car": 9}, protocol="p"
    )
    monkeypatch.setattr(scores, "evaluate_detector", lambda *_: found)
    monkeypatch.setattr(scores, "cost_of", lambda *_: {"parameters": 1.0})
    return seen


def table_of(detector, lines, **changes):
    return Table("m", detector.world, "AP", lines, "detection", **changes)


def run(table: Table, folder: Path, seed: int = 3) -> dict[str, dict]:
    made = Runs(table, folder)
    return {line.name: made.outcome(line, seed) for line in table.lines if line.score != STAGE}


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


@pytest.mark.parametrize("name", DETECTORS)
def test_students_of_a_seed_start_alike(name, trained, tmp_path):
    detector = DETECTORS[name]
    lines = [detector.alone(), detector.alone(2.0), detector.point_distiller()]
    lines.append(detector.objective("pkd"))
    table = table_of(detector, [detector.big(), *students(lines, iters=40)])
    found = run(table, tmp_path)
    assert found["student"]["value"] == 0.5
    assert trained["teacher"].train_cfg.max_iters == 1200
    assert trained["student_2_times_as_long"].train_cfg.max_iters == 80
    alone = built_student(trained["student"])
    for row in ("student_pointdistiller", "student_pkd"):
        cfg = trained[row]
        assert cfg.train_cfg.max_iters == 40
        (teacher,) = teachers_of(cfg.model)
        assert teacher["checkpoint"].startswith(str(tmp_path))
        assert "seed_3/teacher_" in teacher["checkpoint"]
        distilled = built_student(cfg)
        assert alone.keys() == distilled.keys()
        assert all(torch.equal(value, distilled[key]) for key, value in alone.items()), row


def test_a_row_costs_what_its_result_needed(trained, tmp_path):
    table = table_of(SECOND, [SECOND.big(), SECOND.alone(), SECOND.objective("pkd")])
    found = run(table, tmp_path)
    own = {"parameters": 1.0, "training_s": 2.0}
    assert found["teacher"]["cost"] == found["student"]["cost"] == {**own, "with_stages_s": 2.0}
    assert found["student + pkd"]["cost"] == {**own, "with_stages_s": 4.0}
    assert found["student + pkd"]["wall_s"] == pytest.approx(6.0, abs=0.5)
    assert found["student + pkd"]["commit"] == "of teacher, of student_pkd"
    again = run(table, tmp_path)  # nothing to train any more: it costs what it did
    assert again["student + pkd"]["cost"] == found["student + pkd"]["cost"]


class Timed(BaseModel):
    """Notes the weight that it is timed with."""

    seen: ClassVar[list[float]] = []

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, inputs, mode="tensor"):
        self.seen.append(self.layer.weight.mean().item())
        return self.layer(inputs[0])


def test_time_is_that_of_the_trained_weights(tmp_path):
    """Boxes take time, and random weights find others: none, or as many as there is room for."""
    state = {"layer.weight": torch.full((2, 3), 7.0), "layer.bias": torch.zeros(2)}
    torch.save({"state_dict": state}, tmp_path / "iter_1.pth")
    frames = [{"inputs": torch.ones(3)} for _ in range(4)]
    loader = dict(batch_size=1, num_workers=0, dataset=frames, sampler=dict(type="DefaultSampler"))
    cfg = Config(dict(model=dict(type=Timed), test_dataloader=loader))
    cost = scores.cost_of(cfg, tmp_path / "iter_1.pth", frames=2)
    assert Timed.seen == [7.0] * 3
    assert (cost["parameters"], cost["multiply_adds"]) == (8, 6)


def test_the_data_of_a_line_are_those_of_its_info_files(monkeypatch, tmp_path):
    monkeypatch.setattr(World, "place", tmp_path)
    made = Runs(table_of(SECOND, [SECOND.alone()]), tmp_path)
    line = made.table.lines[0]
    assert made.data(line, 0) == ""  # nothing is here
    seen = []
    for name, words in (("train", "a"), ("val", "b"), ("val", "c")):
        (tmp_path / f"kitti_infos_{name}.pkl").write_text(words)
        seen.append(made.data(line, 0))
    assert len(set(seen)) == 3


def test_the_hash_is_of_all_that_a_line_depends_on():
    def hashes(**changes):
        lines = [dataclasses.replace(SECOND.big(), **changes), SECOND.objective("pkd")]
        table = table_of(SECOND, [*lines, SECOND.objective("sp"), SECOND.alone()])
        return {line.name: Runs(table, Path()).config_hash(line) for line in table.lines}

    one, same, longer = hashes(), hashes(), hashes(iters=90)
    assert one == same
    assert len(set(one.values())) == 4
    assert longer["student"] == one["student"]  # it has no teacher
    assert {name for name in one if one[name] != longer[name]} == {
        "teacher", "student + pkd", "student + sp",
    }  # fmt: skip


def test_classes_count_in_the_hash_and_files_may_not_change_under_a_run(trained, tmp_path):
    lines = [SECOND.alone(), Line("other", SECOND.graphs, SECOND.alone().changes)]
    sgd = {"optim_wrapper.optimizer.type": "torch.optim.SGD", **lines[1].changes}
    lines[1] = dataclasses.replace(lines[1], changes=sgd)
    made = Runs(table_of(SECOND, lines), tmp_path)
    assert made.config_hash(lines[0]) != made.config_hash(lines[1])
    made.hashes["student", 1.0] = "as it was"
    with pytest.raises(ValueError, match="was changed while the table runs"):
        made.outcome(lines[0], 0)


def test_a_line_says_in_words_what_it_trains():
    table = table_of(SECOND, [SECOND.big(iters=90), SECOND.alone(1.5, iters=40)])
    words = [Runs(table, Path()).words(line) for line in table.lines]
    assert words[0] == "configs/detection/second_world.py, 90 iterations"
    assert words[1].endswith("model = config://model.student, 60 iterations")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.nothing.width": 1}, "has no 'model.nothing'"),
        ({"model": "config://zoo.none"}, "has no 'zoo.none'"),
        ({"model.teachers.teacher.checkpoint": "row://nobody"}, "no line 'nobody'"),
    ],
)
def test_changes_that_lead_nowhere(changes, message):
    table = table_of(SECOND, [Line("a", SECOND.zoo, changes)])
    with pytest.raises(ValueError, match=message):
        Runs(table, Path()).row(table.lines[0])


def test_a_point_of_a_curve_teaches_and_is_trained_once(trained, tmp_path):
    curve = dataclasses.replace(SECOND.alone(), iters=10, curve=(1, 4))
    taught = dataclasses.replace(SECOND.objective("pkd"), iters=10)
    teacher = "model.teachers.teacher.checkpoint"
    changes = {**taught.changes, teacher: "row://student, 4x steps"}
    table = table_of(SECOND, [curve, dataclasses.replace(taught, changes=changes)])
    made = Runs(table, tmp_path)
    made.outcome(curve.at(4), 3)
    outcome = made.outcome(table.lines[1], 3)
    assert sorted(trained) == ["student", "student_pkd"]
    assert trained["student"].train_cfg.max_iters == 40
    assert trained["student_pkd"].model.teachers.teacher.checkpoint.endswith("final.pth")
    assert outcome["cost"]["with_stages_s"] == 4.0
    assert len(list(tmp_path.glob("*/seed_3/student_*"))) == 2


def test_few_labels_of_xray_hand_the_bank_on(trained, tmp_path):
    table = xray_few_labels.table()
    made = Runs(table, tmp_path)
    taught = table.line("student + X-Ray")
    made.outcome(taught, 0)
    assert set(trained) == {
        "detector_of_one_scene", "bank_of_tracks", "teacher_of_one_scene", "student_x_ray",
    }  # fmt: skip
    assert "detector_of_one_scene" in trained["bank_of_tracks"].tool.checkpoint
    assert trained["detector_of_one_scene"].train_dataloader.dataset.scenes == 1
    for name in ("teacher_of_one_scene", "student_x_ray"):
        steps = trained[name].train_dataloader.dataset.dataset.pipeline
        assert ["bank_of_tracks" in step["bank"] for step in steps if "bank" in step] == [True]
    assert trained["student_x_ray"].train_dataloader.dataset.labelled == 0.1
    assert trained["student_x_ray"].model.pseudo.score == 0.3
    assert "teacher_of_one_scene" in trained["student_x_ray"].model.teacher.checkpoint
    made.outcome(table.line("student + Mean Teacher"), 0)
    begun = trained["student_mean_teacher"].custom_hooks[-2].checkpoint
    assert "detector_of_one_scene" in begun


def test_the_zoo_is_the_same_for_all():
    names = [detector.objectives() for detector in DETECTORS.values()]
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
    monkeypatch.setattr(detectors, "RECORDS", tmp_path)
    with pytest.raises(DataError, match="lidistill evidence zoo_second"):
        make_plan("compact_second", tmp_path)
    write_record(tmp_path, "second")
    plan = make_plan("compact_second", tmp_path)
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
    assert plan.dataset == "embedded world bench, seed 0, KITTI layout"
    assert plan.choices == ("zoo_second",)


@pytest.mark.parametrize("name", plan_names())
def test_every_table_is_declared_in_a_short_file(name, tmp_path):
    assert len((PLANS / f"{name}.py").read_text().splitlines()) <= 60
    plan = make_plan(name, tmp_path)
    assert plan.method == name
    assert len(plan.seeds) >= 3
    assert ("seed 7" in plan.dataset) == (plan.kind == "choice")
    for row in plan.rows:
        point = row.point(row.factors[-1]) if hasattr(row, "point") else row
        assert len(point.config_hash) == 12


@pytest.mark.parametrize("plan", [real_few_labels, xray_few_labels], ids=lambda plan: plan.__name__)
def test_lines_of_few_labels_are_no_trainings_that_are_refused(plan):
    """Such a table ended at its first line, and at its first that looks at unlabelled frames."""
    table = plan.table()
    made = Runs(table, Path())
    for line in table.lines:
        cfg = made.config(line)
        like = SimpleNamespace(student=None) if "student" in cfg.model else SimpleNamespace()
        frames = cfg.train_dataloader.dataset
        refuse_without_teacher(like, frames)
        if frames.get("labelled") is not None and frames.get("keep_unlabelled", True):
            assert cfg.model.get("unlabelled") or cfg.model.get("pseudo"), line.name


def test_a_plan_of_a_package_may_move_in_here(tmp_path, monkeypatch):
    """It is told the folder of its trainings; a declarative table is not."""
    own = ModuleType("lidistill.evidence.plans.slidr")
    own.table = lambda work_dir: EvidencePlan("own", "world", "mIoU", [Row("random weights", dict)])
    monkeypatch.setitem(sys.modules, own.__name__, own)
    assert make_plan("slidr", tmp_path).method == "own"
    with pytest.raises(ValueError, match="slidr is a plan"):
        make_plan("slidr", tmp_path, tuning=True)


def test_tuning_is_a_choice_on_the_other_world(tmp_path):
    plan = make_plan("detection_transfer", tmp_path, tuning=True)
    assert (plan.method, plan.kind) == ("detection_transfer_tuning", "choice")
    assert "seed 7" in plan.dataset


def test_choices_of_point_distiller_are_made_one_at_a_time():
    variants = graph_choices({"stage1": 256, "stage2": 256})
    lines = [SECOND.point_distiller(name, more) for name, more in variants.items()]
    made = Runs(table_of(SECOND, [SECOND.big(), *lines]), Path())
    models = {name: made.config(line).model for name, line in zip(variants, lines, strict=True)}
    paper, heavy, alike = (
        models[name] for name in ("PointDistiller", "term times 4", "all places alike")
    )
    assert set(paper.weights.values()) == set(alike.weights.values()) == {1.0}
    assert set(heavy.weights.values()) == {4.0}
    assert heavy.weights.keys() == heavy.graphs.keys()
    assert (paper.reweight, heavy.reweight, alike.reweight) == (True, True, False)
    more = models["all alike, places times 4"].graphs
    assert all(more[name].queries == 4 * graph.queries for name, graph in paper.graphs.items())


def test_kitti_outcome_is_moderate_3d_ap():
    ap = {"Car": {"3d": {"R40": (3.0, 2.0, 1.0)}}, "Cyclist": {"3d": {"R40": (0.0, 4.0, 0.0)}}}
    found = KittiScores(ap, {}, {"Car": (1, 20, 30), "Cyclist": (1, 5, 6)}, 7, "p")
    assert detection_outcome(found) == {
        "value": 3.0, "n": 25, "per_class": {"Car": 2.0, "Cyclist": 4.0}, "protocol": "p",
        "per_group": {}, "further": {},
    }  # fmt: skip
    assert detection_outcome(found, ("Car",)) == {
        "value": 2.0, "n": 20, "per_class": {"Car": 2.0}, "protocol": "p; value: mean over Car",
        "per_group": {}, "further": {},
    }  # fmt: skip


def test_groups_of_nuscenes_are_means_over_the_classes_that_count():
    groups = [Group("car", "range", "near", 3, 0.5), Group("truck", "range", "near", 1, 0.25)]
    ap, objects = {"car": 0.5, "truck": 0.1, "bus": 0.2}, {"car": 3, "truck": 1, "bus": 2}
    errors = {"mATE": 0.7, "mAVE": 1.2}
    scores = DetectionScores(0.5, 0.4, ap, boxes=6, errors=errors, objects=objects, groups=groups)
    every, cars = detection_outcome(scores), detection_outcome(scores, ("car",))
    assert every["per_group"] == {"near (4 objects)": 0.375}
    assert cars["per_group"] == {"near (3 objects)": 0.5}
    assert (every["n"], cars["n"]) == (6, 3)
    assert every["further"] == {"NDS": 0.4, "mATE": 0.7, "mAVE": 1.2}
    assert cars["further"] == {}  # the devkit's are those of all its classes


def test_worlds_in_words():
    assert KITTI.words == "embedded world bench, seed 0, KITTI layout"
    assert KITTI.for_choices().words == "embedded world bench, seed 7, KITTI layout"


@pytest.mark.slow
def test_a_small_table_runs_from_its_config_to_its_page(converted_world, tmp_path, monkeypatch):
    monkeypatch.setattr(World, "root", lambda world: converted_world / world.layout)
    detector = detectors.SMALL_POINTPILLARS
    lines = [detector.alone(), detector.objective("pkd")]
    table = Table(
        "small",
        detector.world,
        detector.metric,
        [detector.big(iters=2), *students(lines, iters=2, curve=(1, 2))],
        "detection",
        classes=("Car",),
        seeds=(0,),
    )
    made = run_plan(plan_of(table, tmp_path), tmp_path, tmp_path / "small.json", "c")
    assert [row.name for row in made.rows] == [
        "teacher", "student", "student, 2x steps", "student + pkd", "student + pkd, 2x steps",
    ]  # fmt: skip
    assert all(len(row.config_hash) == 12 for row in made.rows)
    taught = made.rows[3].cost
    assert taught["with_stages_s"] == pytest.approx(
        taught["training_s"] + made.rows[0].cost["training_s"], abs=0.2
    )
    text = to_markdown(tmp_path / "small.json", chart=True)
    assert "<svg" in text
    trained = sorted((tmp_path / "trained" / "kitti_0" / "seed_0").glob("*/run.json"))
    assert len(trained) == 5
