# SPDX-License-Identifier: Apache-2.0
"""Tracks of a detector's boxes: linked in the world, one to one, over gaps, in one size."""

import json

import numpy as np
import pytest

from lidistill.converters.infos import load_infos, write_infos
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.object_bank.cli import scores_of
from lidistill.converters.object_bank.finish import make_bank
from lidistill.converters.object_bank.follow import (
    Detections,
    FollowOptions,
    follow,
    weighted_median,
)
from lidistill.converters.object_bank.follow_files import follow_results
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.quality import bank_quality
from lidistill.converters.object_bank.sources.nuscenes import NuScenesSource
from lidistill.converters.object_bank.tracks import upright_boxes
from lidistill.io import DataError, read_json
from tests.converters.object_bank.scenes import make_scene


def frame(seconds, boxes, scores=None, names=None):
    array = np.array(boxes, dtype=float).reshape(-1, 7)
    count = len(array)
    return Detections(
        seconds,
        upright_boxes(array),
        array[:, 3:6],
        np.full(count, 0.9) if scores is None else np.array(scores),
        ["car"] * count if names is None else names,
    )


def car(x, y=0.0, length=4.0, z=0.0):
    return [x, y, z, length, 1.8, 1.5, 0.0]


def test_one_to_one_where_the_nearest_would_take_two():
    frames = [frame(0, [car(0), car(6)]), frame(1, [car(4), car(7)])]
    found = follow(frames, FollowOptions(min_length=1))
    assert [track.rows for track in found] == [[0, 0], [1, 1]]


def test_velocity_tells_crossing_cars_apart():
    frames = [frame(t, [car(3.0 * t), car(12 - 3.0 * t, 0.5)]) for t in range(5)]
    found = follow(frames)
    assert [track.rows for track in found] == [[0] * 5, [1] * 5]
    # without it each takes the other's place, or they stay; it cannot know
    assert len(follow(frames, FollowOptions(constant_velocity=False))) >= 2


def test_a_gap_is_filled_and_a_longer_one_ends_the_track():
    frames = [frame(t, [] if t in (2, 3) else [car(2.0 * t)]) for t in range(6)]
    (track,) = follow(frames)
    assert track.frames == list(range(6))
    assert track.rows == [0, 0, -1, -1, 0, 0]
    np.testing.assert_allclose([pose[0, 3] for pose in track.poses], 2.0 * np.arange(6))
    assert [t.frames for t in follow(frames, FollowOptions(max_gap=1, min_length=1))] == [
        [0, 1],
        [4, 5],
    ]


def test_scores_classes_and_lengths():
    frames = [
        frame(t, [car(t), car(t, 0.2), car(50 + t)], [0.9, 0.9, 0.2], ["car", "van", "car"])
        for t in range(3)
    ]
    found = follow(frames)
    assert sorted(track.name for track in found) == ["car", "van"]
    low = follow(frames, FollowOptions(score={"car": 0.1, "": 0.95}))
    assert [track.name for track in low] == ["car", "car"]
    assert follow(frames[:2]) == []
    assert follow([frame(0, []), frame(1, [])]) == []


def test_boxes_that_nothing_has():
    """A detector hardly trained says kilometres."""
    frames = [
        frame(0.5 * k, [car(k), car(10.0, length=3e5), car(20.0, length=0.0)]) for k in range(3)
    ]
    assert [track.rows for track in follow(frames)] == [[0, 0, 0]]


def test_one_size_and_a_bottom_that_stays():
    frames = [frame(0, [car(0)]), frame(1, [car(1, length=9.0)]), frame(2, [car(2, z=0.5)])]
    frames[2].sizes[0, 2] = 2.5
    (track,) = follow(frames)
    assert {tuple(size) for size in track.sizes} == {(4.0, 1.8, 1.5)}
    bottoms = [
        pose[2, 3] - size[2] / 2 for pose, size in zip(track.poses, track.sizes, strict=True)
    ]
    np.testing.assert_allclose(bottoms, [-0.75, -0.75, 0.5 - 1.25])


def test_weighted_median():
    values = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0]])
    np.testing.assert_array_equal(weighted_median(values, np.array([1.0, 1.0, 1.0])), [2.0, 4.0])
    np.testing.assert_array_equal(weighted_median(values, np.array([0.1, 0.1, 1.0])), [3.0, 3.0])


def test_the_vehicles_motion_does_not_count():
    """A parked car seen from a fast vehicle: one place in the world."""
    frames = [frame(0.5 * t, [car(30.0)]) for t in range(4)]
    assert len(follow(frames)) == 1
    seen = [frame(0.5 * t, [car(30.0 - 10.0 * t)]) for t in range(4)]
    assert len(follow(seen, FollowOptions(min_length=1, constant_velocity=False))) == 4


def test_from_results_to_a_bank(tiny_world, tmp_path):
    """Perfect detections of a world give the tracks of its annotations."""
    root = tiny_world / "nuscenes"
    source = NuScenesSource(root, "v1.0-mini")
    infos = next(iter(convert_nuscenes(root, "v1.0-mini", tmp_path, jobs=1).values()))
    scene = load_infos(infos).frames[0]["scene_name"]
    results, count = {}, 0
    for info in load_infos(infos).frames:
        results[info["token"]] = []
        if info["scene_name"] != scene:
            continue
        records = source.tables.scene_records(source._scenes[scene])
        for box in records.annotations[info["token"]]:
            if box["category_name"].startswith("vehicle.car"):
                kept = {key: box[key] for key in ("translation", "size", "rotation")}
                results[info["token"]].append(
                    {**kept, "detection_name": "car", "detection_score": 0.8}
                )
                count += 1
    path, out = tmp_path / "results.json", tmp_path / "tracks.json"
    path.write_text(json.dumps({"meta": {}, "results": results}))
    report = follow_results(path, infos, out, FollowOptions(min_length=1))
    assert report["boxes"] == report["classes"]["car"]["boxes"] == count > 0
    boxes = read_json(out)["results"]
    tracked = NuScenesSource(root, "v1.0-mini", scenes=[scene], boxes=boxes).read(scene)
    truth = source.read(scene)
    cars = [i for i, name in enumerate(truth.names) if name == "car"]
    assert len(tracked.tokens) == len(cars)
    bank = make_bank(tracked, BankOptions.plain())
    expected = make_bank(truth, BankOptions.plain())
    own = sum(int(np.diff(expected.offsets)[i]) for i in cars)
    assert abs(len(bank.xyz) - own) <= 0.02 * own  # sizes of two annotations may differ
    path.write_text(json.dumps({"results": {}}))
    with pytest.raises(DataError, match="have none"):
        follow_results(path, infos, out)
    path.write_text(json.dumps({"results": {**results, "elsewhere": []}}))
    with pytest.raises(DataError, match="1 results are of other samples"):
        follow_results(path, infos, out)
    path.write_text(json.dumps([1]))
    with pytest.raises(DataError, match="key results"):
        follow_results(path, infos, out)
    path.write_text(json.dumps({"results": results}))
    with pytest.raises(DataError, match=r"--score names cra: .*detected: car"):
        follow_results(path, infos, out, FollowOptions(score={"cra": 0.4, "": 0.2}))
    first = load_infos(infos).frames[0]["token"]
    with pytest.raises(DataError, match=r"keyframes of scene .* have no entry"):
        NuScenesSource(root, "v1.0-mini", boxes={first: []})
    with pytest.raises(DataError, match="none of the"):
        NuScenesSource(root, "v1.0-mini", boxes={"elsewhere": []})
    others = [NuScenesSource(root, "v1.0-mini", boxes=b).recorded() for b in (boxes, results)]
    assert others[0] != others[1]  # a bank is of one file of tracks


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"timestamp": 0.0}, "has the same timestamp"),
        ({"timestamp": float("nan")}, "'timestamp': expected a finite number"),
        ({"scene_name": None}, "'scene_name'"),
        ({"scene_token": "two"}, "Two scenes are called s: of tokens one and two"),
    ],
)
def test_samples_that_do_not_follow_one_another(tmp_path, change, words):
    frames = [
        {"token": f"t{k}", "scene_name": "s", "timestamp": 0.5 * k, "lidar_points": {}}
        for k in range(3)
    ]
    for frame in frames:
        frame["scene_token"] = "one"
    frames[2].update(change)
    meta = {"dataset": "nuscenes", "info_version": "1.1"}
    write_infos(tmp_path / "infos.pkl", meta, frames, {}, "made")
    (tmp_path / "r.json").write_text(json.dumps({"results": {f"t{k}": [] for k in range(3)}}))
    with pytest.raises(DataError, match=rf"(?s){words}.*infos\.pkl"):
        follow_results(tmp_path / "r.json", tmp_path / "infos.pkl", tmp_path / "out.json")


def test_quality_tells_good_tracks_from_noisy_ones(tmp_path):
    tracks = make_scene(tmp_path / "points")
    good = bank_quality([make_bank(tracks, BankOptions.plain())])["car"]
    assert good.objects == 2
    tracks.world_from_box[:, 0, 3] += np.random.default_rng(0).normal(0, 0.5, len(tracks.sizes))
    tracks.sizes[:] += 1.5
    noisy = bank_quality([make_bank(tracks, BankOptions.plain())])["car"]
    assert noisy.views == good.views
    assert noisy.distance > 1.1 * good.distance


def test_scores_from_words():
    assert scores_of(["0.3"]) == 0.3
    assert scores_of(["car=0.4", "0.2"]) == {"car": 0.4, "": 0.2}
    assert FollowOptions(score=scores_of(["car=0.4"])).gate("pedestrian") == 0.3  # not 0
    for twice in (["0.3", "0.4"], ["car=0.3", "0.1", "car=0.4"]):  # the last one counted
        with pytest.raises(ValueError, match="two scores of one class"):
            scores_of(twice)
    with pytest.raises(ValueError, match="--score"):
        scores_of(["car=much"])
    with pytest.raises(ValueError, match="reach"):
        FollowOptions(reach=0)
    with pytest.raises(ValueError, match="finite scores"):
        FollowOptions(score=scores_of(["nan"]))
