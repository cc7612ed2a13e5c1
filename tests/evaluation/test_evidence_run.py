# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from lidistill import provenance
from lidistill.cli import main
from lidistill.evaluation import cli, evidence_run
from lidistill.evaluation.evidence import load_evidence, to_markdown
from lidistill.evaluation.evidence_run import EvidencePlan, Row, run_plan, with_seeds


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
    outcome = {"value": 0.5, "per_class": {"car": 0.5, "bus": float("nan"), "cone": None}}
    plan = EvidencePlan("m", "d", "x", [Row("a", lambda seed: outcome)], seeds=(0,))
    made = run_plan(plan, tmp_path, tmp_path / "x.json", "c")
    assert made.rows[0].per_class == {"car": [0.5], "bus": [None], "cone": [None]}


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
        evidence_run,
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


def test_unknown_plan(capsys):
    with pytest.raises(ValueError, match="no evidence plan 'nothing'; known: "):
        cli.find_plan("nothing")
    with pytest.raises(ValueError, match="has no function 'nothing'"):
        cli.find_plan(f"{__name__}:nothing")
    assert main(["evidence", "nothing"]) == 1
    assert "no evidence plan" in " ".join(capsys.readouterr().err.split())


def test_two_processes_make_the_same_record(tmp_path):
    one = run_plan(Recorder().plan(), tmp_path / "a", tmp_path / "a.json", "c")
    two = run_plan(Recorder().plan(), tmp_path / "b", tmp_path / "b.json", "c", jobs=2)
    for ours, other in zip(one.rows, two.rows, strict=True):
        ours.wall_s = other.wall_s
    assert [row.values for row in two.rows] == [row.values for row in one.rows]
    assert two.rows[1].per_class == one.rows[1].per_class
