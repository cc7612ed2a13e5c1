# SPDX-License-Identifier: Apache-2.0
"""``lidistill eval kitti`` on folders of made-up results."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lidistill import cli
from lidistill.bench.kitti.evaluator import made_up
from lidistill.converters.kitti.results import write_results
from lidistill.evaluation.kitti.ap import kitti_ap
from lidistill.evaluation.kitti.folders import read_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    truth, found = made_up(30, seed=2)
    (root / "training" / "label_2").mkdir(parents=True)
    (root / "pred" / "data").mkdir(parents=True)
    for number, (labels, detections) in enumerate(zip(truth, found, strict=True)):
        path = root / "training" / "label_2" / f"{number:06d}.txt"
        write_results(path, labels)
        lines = [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
        path.write_text("".join(f"{line}\n" for line in lines))
        write_results(root / "pred" / "data" / path.name, detections)
    return root


def run(folders, *words):
    command = ["eval", "kitti", "--gt", str(folders), "--pred", str(folders / "pred")]
    return cli.main([*command, *map(str, words)])


def test_table_json_and_curves(folders, tmp_path, capsys):
    assert run(folders, "--out", tmp_path) == 0
    both = read_folders(folders, folders / "pred")
    scores = kitti_ap(both.truth, both.found)
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["objects"]["Car"] == list(scores.objects["Car"])
    assert record["ap"]["Car"]["3d"]["R40"] == pytest.approx(scores.ap["Car"]["3d"]["R40"])
    assert len(record["precision"]["Cyclist"]["aos"][2]) == 41
    assert {g["by"] for g in record["groups"]} == {"distance", "occlusion"}
    assert record["missed"][0]["objects"] == scores.objects["Car"][1]
    text = capsys.readouterr().out
    assert f"{scores.ap['Car']['3d']['R40'][1]:.2f}" in text
    assert "warning: Cyclist has fewer than 41 objects" in " ".join(text.split())
    assert "What was missed" in (tmp_path / "table.txt").read_text()
    assert "Car, bev" in (tmp_path / "curves.svg").read_text()
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 1000


def test_own_classes_overlaps_and_split(folders, tmp_path, capsys):
    (tmp_path / "val.txt").write_text("000003\n000004\n")
    out = tmp_path / "out"
    words = ("--split", tmp_path / "val.txt", "--overlap", "Van=0.5", "--loose", "--by", "bev")
    assert run(folders, *words, "--out", out) == 0
    record = json.loads((out / "scores.json").read_text())
    assert record["frames"] == 2
    assert record["minimum_overlap"]["Van"]["3d"] == 0.5
    assert record["minimum_overlap"]["Car"] == {"bev": 0.5, "3d": 0.5, "bbox": 0.7}
    assert record["ap"]["Van"]["3d"]["R40"][2] in (None, 0.0)
    capsys.readouterr()
    assert run(folders, "--classes", "Car", "Van", "--overlap", "Van=0.5", "--official") == 0
    assert "nothing was detected of Van" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--classes", "Tram"), "no overlap is known for Tram"),
        (("--overlap", "Car"), "expected --overlap NAME=MIN"),
        (("--split", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_errors(folders, words, message, capsys):
    assert run(folders, *words) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_results_of_unknown_frames_and_nan(folders, tmp_path, capsys):
    for name, text, words in (
        ("999999", "", "have results but no labels"),
        ("000000", "Car 0 0 0 1 1 2 2 1 1 1 0 0 9 0 nan\n", "score: expected a finite number"),
    ):
        (tmp_path / f"{name}.txt").write_text(text)
        command = ["eval", "kitti", "--gt", str(folders), "--pred", str(tmp_path)]
        assert cli.main([*command, "--missing", "empty"]) == 1
        error = " ".join(capsys.readouterr().err.split())
        assert words in error
        assert "what to do" in error
        (tmp_path / f"{name}.txt").unlink()


def test_no_objects_at_all(tmp_path, capsys):
    for part in ("gt", "pred"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "000000.txt").write_text("")
    command = ["eval", "kitti", "--gt", str(tmp_path / "gt"), "--pred", str(tmp_path / "pred")]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    assert "no easy object of Car" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["objects"]["Car"] == [0, 0, 0]


def test_nothing_detected_in_any_frame(folders, tmp_path, capsys):
    """A detector after its first iterations: every AP is 0, every object unseen."""
    for number in range(30):
        (tmp_path / f"{number:06d}.txt").write_text("")
    command = ["eval", "kitti", "--gt", str(folders), "--pred", str(tmp_path)]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert record["ap"]["Car"]["3d"]["R40"] == [0.0, 0.0, 0.0]
    car = record["missed"][0]
    assert car["misses"]["unseen"] == car["objects"] > 0


def test_an_image_detectors_results_have_no_numbers_in_space(folders, tmp_path, capsys):
    for path in (folders / "pred" / "data").glob("*.txt"):
        rows = [line.split() for line in path.read_text().splitlines()]
        nowhere = "-1 -1 -1 -1000 -1000 -1000 -10"
        lines = (f"{' '.join(row[:8])} {nowhere} {row[15]}\n" for row in rows)
        (tmp_path / path.name).write_text("".join(lines))
    command = ["eval", "kitti", "--gt", str(folders), "--pred", str(tmp_path)]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert record["ap"]["Car"]["bbox"]["R40"][1] > 0
    assert {group["ap"] for group in record["groups"]} == {None}
    assert record["missed"] == []
    assert "no detection has a box in space" in " ".join(capsys.readouterr().out.split())
    assert cli.main([*command, "--by", "bbox", "--out", str(tmp_path / "out")]) == 0
    assert "What was missed" in capsys.readouterr().out
