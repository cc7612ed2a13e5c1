# SPDX-License-Identifier: Apache-2.0
"""``lidistill eval nuscenes`` on the tiny world: true boxes as detections."""

from __future__ import annotations

import json

import pytest

from lidistill import cli
from lidistill.converters.infos import load_infos
from lidistill.engine.scoring.nuscenes import read_nuscenes_results
from lidistill.io import DataError

ENTRY = {
    "translation": [1.0, 2.0, 3.0], "size": [1.0, 1.0, 1.0], "rotation": [1.0, 0.0, 0.0, 0.0],
    "velocity": [0.0, 0.0], "detection_name": "car", "detection_score": 0.5, "attribute_name": "",
}  # fmt: skip


def truth_as_results(root, version, tokens):
    from nuscenes import NuScenes
    from nuscenes.eval.detection.utils import category_to_detection_name

    tables, results = NuScenes(version, str(root), verbose=False), {}
    for token in tokens:
        results[token] = []
        for key in tables.get("sample", token)["anns"]:
            one = tables.get("sample_annotation", key)
            name = category_to_detection_name(one["category_name"])
            if name and one["num_lidar_pts"] + one["num_radar_pts"] > 0:  # others do not count
                box = {key: one[key] for key in ("translation", "size", "rotation")}
                results[token].append({**ENTRY, **box, "detection_name": name})
    return results


@pytest.fixture(scope="module")
def made(converted_world, tmp_path_factory):
    root = converted_world / "nuscenes"
    infos = load_infos(root / "lidistill_infos_val.pkl", "nuscenes")
    version, split = infos.metainfo["version"], infos.metainfo["split"]
    tokens = [frame["token"] for frame in infos.frames]
    path = tmp_path_factory.mktemp("nuscenes") / "results.json"
    path.write_text(json.dumps({"meta": {}, "results": truth_as_results(root, version, tokens)}))
    command = ["eval", "nuscenes", "--root", root, "--version", version, "--split", split]
    return path, [str(word) for word in command]


def test_the_truth_is_found(made, tmp_path, capsys):
    path, command = made
    assert cli.main([*command, "--pred", str(path), "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "scores.json").read_text())
    known = [value for value in record["ap"].values() if value is not None]
    assert known == pytest.approx([1.0] * len(known), abs=1e-3)
    assert record["errors"]["mATE"] < 1e-6
    assert "warning: fewer than 41 true boxes" in " ".join(capsys.readouterr().out.split())


def test_keyframes_without_an_entry(made, tmp_path, capsys):
    path, command = made
    content = json.loads(path.read_text())
    content["results"].pop(next(iter(content["results"])))
    (tmp_path / "less.json").write_text(json.dumps(content))
    command = [*command, "--pred", str(tmp_path / "less.json")]
    assert cli.main(command) == 1
    assert "for every keyframe" in " ".join(capsys.readouterr().err.split())
    assert cli.main([*command, "--missing", "empty"]) == 0
    assert "1 keyframes without an entry" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "key results"),
        ({"results": {"a": {}}}, "Expected a list"),
        ({"results": {"a": [{}]}}, "a record with 'entry 0.translation'"),
        (
            {"results": {"a": [{**ENTRY, "size": [1, 2]}]}},
            "'entry 0.size': expected 3 finite numbers",
        ),
        ({"results": {"a": [{**ENTRY, "size": [1, 2, 1e300]}]}}, "no larger than the Earth"),
        ({"results": {"a": [{**ENTRY, "velocity": [0, -1e300]}]}}, "at most 10000 m/s"),
        ({"results": {"a": [{**ENTRY, "size": [1, 0, 1]}]}}, "size: expected sizes above 0"),
        ({"results": {"a": [{**ENTRY, "rotation": [0, 0, 0, 0]}]}}, "of length 0"),
        ({"results": {"a": [{**ENTRY, "detection_score": True}]}}, "a finite number, got True"),
        ({"results": {"a": [{**ENTRY, "velocity": [float("nan"), 0]}]}}, "velocity"),
        ({"results": {"a": [{**ENTRY, "sample_token": "b"}]}}, "is of sample 'b'"),
        ({"results": {"a": [ENTRY, 3]}}, "Expected a record .* 'entry 1'"),
    ],
)
def test_files_that_are_no_results(tmp_path, content, words):
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=words):
        read_nuscenes_results(tmp_path / "r.json")
