# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import math

import pytest

from lidistill import provenance
from lidistill.cli import main
from lidistill.evidence import cli, driver
from lidistill.evidence.driver import place_for, run_plan
from lidistill.evidence.page import to_markdown
from lidistill.evidence.plan import Curve, EvidencePlan, Row, with_seeds
from lidistill.evidence.record import load_evidence


class Recorder:
    """Rows whose calls are counted; ``fail_at`` plays a kill at that call."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def row(self, name, base, twin=None, **outcome):
        def run(seed):
            if len(self.calls) == self.fail_at:
                raise KeyboardInterrupt
            self.calls.append((name, seed))
            value = base + seed / 100
            return {"value": value, **outcome} if outcome else value

        return Row(name, run, twin=twin, config="demo.py")

    def plan(self, **changes):
        rows = [
            self.row("random init", 0.2),
            self.row("SLidR", 0.5, "random init", n=80, per_class={"car": 0.7}, protocol="probe"),
        ]
        return EvidencePlan("slidr", "embedded world", "mIoU", rows, **changes)


@pytest.fixture(autouse=True)
def fixed_commit(monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: "abc")
    monkeypatch.setattr(provenance, "hardware", lambda: "2 cores")


def test_runs_every_row_with_every_seed(tmp_path):
    recorder, said = Recorder(), []
    out = tmp_path / "slidr.json"
    made = run_plan(recorder.plan(), tmp_path / "w", out, "the command", say=said.append)
    assert recorder.calls == [(n, s) for s in (0, 1, 2) for n in ("random init", "SLidR")]
    assert load_evidence(out) == made
    assert (made.commit, made.hardware, made.command) == ("abc", "2 cores", "the command")
    assert made.protocol == "probe"
    assert made.rows[1].values == pytest.approx([0.5, 0.51, 0.52])
    assert made.rows[1].per_class == {"car": [0.7, 0.7, 0.7]}
    assert (made.rows[1].n, made.rows[1].twin, made.rows[1].config) == (
        80,
        "random init",
        "demo.py",
    )
    assert len(said) == 6
    assert "[6/6] SLidR, seed 2: 0.5200" in said[-1]


@pytest.mark.parametrize("fail_at", range(6))
def test_continues_after_a_kill_with_the_same_record(tmp_path, fail_at):
    whole = run_plan(Recorder().plan(), tmp_path / "a", tmp_path / "a.json", "c")
    killed = Recorder(fail_at)
    with pytest.raises(KeyboardInterrupt):
        run_plan(killed.plan(), tmp_path / "b", tmp_path / "b.json", "c")
    assert not (tmp_path / "b.json").exists()
    rest = Recorder()
    resumed = run_plan(rest.plan(), tmp_path / "b", tmp_path / "b.json", "c")
    assert len(rest.calls) == 6 - fail_at
    for one, other in zip(whole.rows, resumed.rows, strict=True):
        one.wall_s = other.wall_s
    assert whole == resumed


@pytest.mark.parametrize(
    "change", [{"dataset": "other world"}, {"metric": "NDS"}, {"config": "other.py"}]
)
def test_other_settings_are_run_again(tmp_path, change):
    run_plan(Recorder().plan(), tmp_path, tmp_path / "x.json", "c")
    recorder = Recorder()
    plan = recorder.plan()
    fields = {"method": "slidr", "dataset": plan.dataset, "metric": plan.metric, "rows": plan.rows}
    if "config" in change:
        fields["rows"] = [Row(r.name, r.run, r.twin, change["config"]) for r in plan.rows]
    else:
        fields.update(change)
    run_plan(EvidencePlan(**fields), tmp_path, tmp_path / "x.json", "c")
    assert len(recorder.calls) == 6


def test_outcomes_of_another_commit(tmp_path, monkeypatch):
    run_plan(Recorder().plan(seeds=(0, 1)), tmp_path, tmp_path / "x.json", "c")
    monkeypatch.setattr(provenance, "commit", lambda: "def")
    recorder = Recorder()
    made = run_plan(recorder.plan(), tmp_path, tmp_path / "x.json", "c", any_commit=True)
    assert [seed for _, seed in recorder.calls] == [2, 2]
    assert made.commit == "abc, def"
    recorder = Recorder()
    made = run_plan(recorder.plan(), tmp_path, tmp_path / "x.json", "c")
    assert [seed for _, seed in recorder.calls] == [0, 0, 1, 1]
    assert made.commit == "def"


def test_a_record_names_the_commits_that_trained_and_the_one_that_scored(tmp_path, monkeypatch):
    """A training that an earlier commit finished is taken; its row named the later one alone."""
    row = Recorder().row("SLidR", 0.5, commit="old, abc")
    made = run_plan(EvidencePlan("slidr", "w", "mIoU", [row]), tmp_path, tmp_path / "x.json", "c")
    assert made.commit == made.rows[0].commit == "old, abc"
    monkeypatch.setattr(provenance, "commit", lambda: "def")
    made = run_plan(EvidencePlan("slidr", "w", "mIoU", [row]), tmp_path, tmp_path / "x.json", "c")
    assert made.commit == made.rows[0].commit == "old, abc, def"


def test_outcomes_of_other_data_of_the_same_name_are_run_again(tmp_path):
    """Labels were mended, or another folder is named: every row was "stored"."""
    known = {"data": "before"}
    recorder = Recorder()
    row = dataclasses.replace(recorder.row("a", 0.5, **known), data=lambda _seed: known["data"])
    plan = EvidencePlan("slidr", "real drives", "mIoU", [row])
    for now, runs in (("before", 3), ("", 3), ("after", 6)):
        known["data"] = now
        run_plan(plan, tmp_path, tmp_path / "x.json", "c")
        assert len(recorder.calls) == runs


def test_damaged_outcome_is_run_again(tmp_path):
    run_plan(Recorder().plan(), tmp_path, tmp_path / "x.json", "c")
    (tmp_path / "slidr" / "random_init" / "seed_1.json").write_text("{")
    recorder = Recorder()
    run_plan(recorder.plan(), tmp_path, tmp_path / "x.json", "c")
    assert recorder.calls == [("random init", 1)]


def test_wrong_plans():
    rows = Recorder().plan().rows
    with pytest.raises(ValueError, match="row names must differ"):
        EvidencePlan("m", "d", "x", [rows[0], Row("Random  init", lambda seed: 0.0)])
    with pytest.raises(ValueError, match=r"twins \['random init'\] are not among"):
        EvidencePlan("m", "d", "x", [rows[1]])
    with pytest.raises(ValueError, match="distinct seeds"):
        EvidencePlan("m", "d", "x", rows, seeds=(0, 0))
    with pytest.raises(ValueError, match="expected rows"):
        EvidencePlan("m", "d", "x", [])


def test_outcome_without_value(tmp_path):
    plan = EvidencePlan("m", "d", "x", [Row("a", lambda seed: {"miou": 1.0})], seeds=(0,))
    with pytest.raises(ValueError, match="returned \\['miou'\\]; expected a 'value'"):
        run_plan(plan, tmp_path, tmp_path / "x.json", "c")


def test_class_that_was_not_scored_is_none(tmp_path):
    classes = {"car": 0.5, "bus": float("nan"), "cone": None}
    outcome = {"value": 0.5, "per_class": classes, "per_group": {"near": 0.1, "far": math.nan}}
    outcome["further"] = {"NDS": 0.3, "mAVE": math.nan}
    plan = EvidencePlan("m", "d", "x", [Row("a", lambda seed: outcome)], seeds=(0,))
    made = run_plan(plan, tmp_path, tmp_path / "x.json", "c")
    assert made.rows[0].per_class == {"car": [0.5], "bus": [None], "cone": [None]}
    assert made.rows[0].per_group == {"near": [0.1], "far": [None]}
    assert made.rows[0].further == {"NDS": [0.3], "mAVE": [None]}


def test_seeds_that_are_folds_have_numbers_of_their_own(tmp_path):
    """The record called the points of the first fold those behind every value."""

    def run(seed):
        points = (300, 100, 200)[seed]
        return {"value": 0.5, "n": points, "protocol": f"on {points} points"}

    plan = EvidencePlan("folds", "three drives", "mIoU", [Row("a", run)])
    made = run_plan(plan, tmp_path / "w", tmp_path / "folds.json", "c")
    assert made.rows[0].n == 100
    assert made.protocol == (
        "of seed 0, the others likewise with numbers of their own: on 300 points"
    )


def test_costs_are_means_over_seeds(tmp_path):
    def run(seed):
        return {"value": 0.5, "cost": {"parameters": 10, "s": float(seed)}}

    plan = EvidencePlan("m", "d", "x", [Row("a", run), Row("b", lambda seed: 0.1)], seeds=(1, 2))
    made = run_plan(plan, tmp_path, tmp_path / "x.json", "c")
    assert made.rows[0].cost == {"parameters": 10, "s": 1.5}
    assert made.rows[1].cost == {}
    text = to_markdown(tmp_path / "x.json")
    assert "| cost | parameters | s |" in text
    assert "| a | 10 | 1.5 |" in text


def test_with_many_processes_seeds_alternate(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(
        driver,
        "parallel",
        lambda run, todo, jobs: taken.extend(todo) or map(run, todo),
    )
    run_plan(Recorder().plan(), tmp_path, tmp_path / "x.json", "c", jobs=4)
    assert [job.seed for job in taken] == [0, 1, 2, 0, 1, 2]


def test_with_seeds():
    plan = Recorder().plan()
    assert with_seeds(plan, None) is plan
    assert with_seeds(plan, [7]).seeds == (7,)


def toy_plan(work_dir):
    """Found by the command line test as ``module:function``."""
    return Recorder().plan()


def test_verb(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evidence", f"{__name__}:toy_plan", "--seeds", "3", "4"]) == 0
    assert "| SLidR | 0.535 ± 0.007 |" in capsys.readouterr().out
    record = json.loads((tmp_path / "docs" / "evidence" / "slidr.json").read_text())
    assert record["rows"][0]["seeds"] == [3, 4]
    assert record["command"] == f"lidistill evidence {__name__}:toy_plan --seeds 3 4"
    assert (tmp_path / "work_dirs" / "evidence" / "slidr" / "slidr" / "seed_4.json").exists()
    assert main(["evidence", "slidr", "--show"]) == 0
    assert "| SLidR | 0.535 ± 0.007 |" in capsys.readouterr().out
    assert main(["evidence", "ppkt", "--show"]) == 1
    assert "run: lidistill evidence ppkt" in " ".join(capsys.readouterr().err.split())


def test_unknown_plan(capsys):
    with pytest.raises(ValueError, match="no evidence plan 'nothing'; known: "):
        cli.make_plan("nothing", None)
    with pytest.raises(ValueError, match="has no function 'nothing'"):
        cli.make_plan(f"{__name__}:nothing", None)
    assert main(["evidence", "nothing"]) == 1
    assert "no evidence plan" in " ".join(capsys.readouterr().err.split())


def test_two_processes_make_the_same_record(tmp_path):
    one = run_plan(Recorder().plan(), tmp_path / "a", tmp_path / "a.json", "c")
    two = run_plan(Recorder().plan(), tmp_path / "b", tmp_path / "b.json", "c", jobs=2)
    for ours, other in zip(one.rows, two.rows, strict=True):
        ours.wall_s = other.wall_s
    assert [row.values for row in two.rows] == [row.values for row in one.rows]
    assert two.rows[1].per_class == one.rows[1].per_class


def test_every_row_carries_its_commit_and_its_config(tmp_path, monkeypatch):
    run_plan(Recorder().plan(seeds=(0, 1)), tmp_path, tmp_path / "x.json", "c")
    monkeypatch.setattr(provenance, "commit", lambda: "def")
    made = run_plan(Recorder().plan(), tmp_path, tmp_path / "x.json", "c", any_commit=True)
    assert [row.commit for row in load_evidence(tmp_path / "x.json").rows] == ["abc, def"] * 2
    assert made.rows[0].config_hash == ""
    hashed = [Row("a", lambda seed: 0.1, config_hash="1234")]
    made = run_plan(EvidencePlan("m", "d", "x", hashed), tmp_path, tmp_path / "y.json", "c")
    assert made.rows[0].config_hash == "1234"


def test_an_outcome_of_another_config_hash_is_not_taken(tmp_path):
    calls = []

    def plan(config_hash):
        row = Row("a", lambda seed: calls.append(seed) or 0.1, config_hash=config_hash)
        return EvidencePlan("m", "d", "x", [row], seeds=(0,))

    for config_hash in ("1", "1", "2"):
        run_plan(plan(config_hash), tmp_path, tmp_path / "x.json", "c")
    assert calls == [0, 0]


def test_seconds_of_cached_stages_count(tmp_path):
    plan = EvidencePlan("m", "d", "x", [Row("a", lambda seed: {"value": 1.0, "wall_s": 500.0})])
    made = run_plan(plan, tmp_path, tmp_path / "x.json", "c")
    assert made.rows[0].wall_s == 1500.0


@pytest.mark.parametrize(
    "damage",
    [
        {"value": 10**400},
        {"value": None},
        {"per_class": ["car"]},
        {"per_class": {"car": "good"}},
        {"commit": ["abc"]},
        {"cost": {"s": "much"}},
    ],
)
def test_outcomes_that_lost_their_form_are_run_again(tmp_path, damage):
    run_plan(Recorder().plan(), tmp_path, tmp_path / "x.json", "c")
    path = tmp_path / "slidr" / "slidr" / "seed_2.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    recorder = Recorder()
    run_plan(recorder.plan(), tmp_path, tmp_path / "x.json", "c")
    assert recorder.calls == [("SLidR", 2)]


def test_a_record_of_changes_that_are_not_committed_stays_out_of_the_docs(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: "abc-dirty")
    docs = tmp_path / "docs" / "evidence" / "slidr.json"
    out, word = place_for(docs, tmp_path / "w", "slidr")
    assert out == tmp_path / "w" / "slidr" / "record.json"
    assert "abc-dirty" in word
    assert str(docs) in word
    assert place_for(tmp_path / "x.json", tmp_path, "slidr") == (tmp_path / "x.json", "")
    monkeypatch.setattr(provenance, "commit", lambda: "abc")
    assert place_for(docs, tmp_path, "slidr") == (docs, "")


def test_verb_from_a_dirty_tree(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "commit", lambda: "abc-dirty")
    assert main(["evidence", f"{__name__}:toy_plan", "--seeds", "3", "--any-commit"]) == 0
    assert "not committed" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "docs").exists()
    record = load_evidence(tmp_path / "work_dirs" / "evidence" / "slidr" / "record.json")
    assert record.command == f"lidistill evidence {__name__}:toy_plan --seeds 3 --any-commit"


# -- curves ---------------------------------------------------------------------------------------
def curve(name, means, twin=None, spread=0.01, calls=None):
    """A curve whose points have these means, and values one ``spread`` apart over three seeds."""

    def at(factor):
        def run(seed):
            if calls is not None:
                calls.append((name, factor, seed))
            return {
                "value": means[factor] + spread * (seed - 1),
                "cost": {"with_stages_s": 10.0 * factor},
            }

        return Row(name, run, twin=twin, config="demo.py")

    return Curve(name, at, (1, 2, 4, 8), twin)


def curve_plan(student, taught, teacher=0.9, calls=None):
    rows = [
        Row("teacher", lambda seed: teacher + 0.01 * (seed - 1), config="big.py"),
        curve("student", student, calls=calls),
        curve("taught", taught, "student", calls=calls),
    ]
    return EvidencePlan("m", "world", "AP", rows, teacher="teacher")


BENDS = {1: 0.3, 2: 0.4, 4: 0.405, 8: 0.5}
RISES = {1: 0.3, 2: 0.4, 4: 0.5, 8: 0.6}


def test_a_curve_ends_where_a_doubling_adds_less_than_the_spread(tmp_path):
    calls = []
    made = run_plan(curve_plan(BENDS, RISES, calls=calls), tmp_path, tmp_path / "x.json", "c")
    points = [(row.name, row.curve, row.steps, row.twin) for row in made.rows]
    assert points == [
        ("teacher", "", 0, None),
        ("student", "student", 1, None),
        ("student, 2x steps", "student", 2, None),
        ("student, 4x steps", "student", 4, None),
        ("taught", "taught", 1, "student"),
        ("taught, 2x steps", "taught", 2, "student, 2x steps"),
        ("taught, 4x steps", "taught", 4, "student, 4x steps"),
        ("taught, 8x steps", "taught", 8, "student, 4x steps"),
    ]
    assert made.caps == {"student": 8, "taught": 8}
    assert load_evidence(tmp_path / "x.json") == made
    again = []
    run_plan(curve_plan(BENDS, RISES, calls=again), tmp_path, tmp_path / "x.json", "c")
    assert (len(calls), again) == (21, [])


def test_a_killed_curve_goes_on_at_its_point(tmp_path):
    calls, plan = [], curve_plan(BENDS, RISES)

    def killed(factor):
        def run(seed):
            if (factor, seed) == (4, 1):
                raise KeyboardInterrupt
            return plan.curves[0].at(factor).run(seed)

        return Row("student", run, config="demo.py")

    broken = [plan.rows[0], Curve("student", killed), plan.rows[2]]
    with pytest.raises(KeyboardInterrupt):
        run_plan(
            EvidencePlan("m", "world", "AP", broken, teacher="teacher"),
            tmp_path, tmp_path / "x.json", "c",
        )  # fmt: skip
    run_plan(curve_plan(BENDS, RISES, calls=calls), tmp_path, tmp_path / "x.json", "c")
    assert calls[:2] == [("student", 4, 1), ("student", 4, 2)]


@pytest.mark.parametrize("teacher", [0.35, 0.405, 0.412])
def test_a_teacher_that_is_not_ahead_is_refused_by_name(tmp_path, teacher):
    calls, said = [], []
    plan = curve_plan(BENDS, RISES, teacher, calls)
    made = run_plan(plan, tmp_path, tmp_path / "x.json", "c", say=said.append)
    assert {name for name, *_ in calls} == {"student"}
    assert "the teacher 'teacher' reaches" in made.refused
    assert "0.405 ± 0.010 (student, 4x steps)" in made.refused
    assert said[-1] == f"refused: {made.refused}"
    assert "Refused: the teacher 'teacher'" in to_markdown(tmp_path / "x.json")


def test_the_page_says_what_counts_as_a_gain(tmp_path):
    run_plan(curve_plan(BENDS, RISES), tmp_path, tmp_path / "x.json", "c")
    text = to_markdown(tmp_path / "x.json", chart=True)
    assert (
        "- student, the curve that counts: best at 4x steps, 0.405 ± 0.010; the doubling to 4x "
        "added less than the spread."
    ) in text
    assert "a gain of +0.195 ± 0.000 above the best point of the twin's curve." in text
    (svg,) = [line for line in text.splitlines() if line.startswith("<svg")]
    assert svg.count('class="band"') == 2
    assert "<svg" not in to_markdown(tmp_path / "x.json")
    worse = {1: 0.31, 2: 0.404, 4: 0.4, 8: 0.4}  # above its twin at equal steps, not at its best
    run_plan(curve_plan(BENDS, worse), tmp_path / "b", tmp_path / "y.json", "c")
    assert "taught: 0.404 ± 0.010 at its best (2x steps)" in to_markdown(tmp_path / "y.json")
    assert "-0.001 ± 0.000, no gain." in to_markdown(tmp_path / "y.json")


def test_a_curve_that_still_rises_at_its_cap_says_so(tmp_path):
    run_plan(curve_plan(RISES, RISES), tmp_path, tmp_path / "x.json", "c")
    assert "it still rose at its cap of 8x" in to_markdown(tmp_path / "x.json")


def test_wrong_curves():
    with pytest.raises(ValueError, match="expected rising factors"):
        EvidencePlan("m", "d", "x", [Curve("a", lambda factor: None, (2, 1))])
    with pytest.raises(ValueError, match="expected the teacher 'a' among the rows"):
        EvidencePlan("m", "d", "x", [Row("a", lambda seed: 0.0)], teacher="a")
