# SPDX-License-Identifier: Apache-2.0
"""What is said of the samples that a cached teacher sees."""

from __future__ import annotations

import pytest

from lidistill.datasets.detections import SeededDetections
from lidistill.datasets.loading import PackPairs
from lidistill.distill.caches.detections import ReplayCache
from lidistill.engine.configs.caches import note_inputs

POINTS = dict(type="LoadCheckedPoints", use_dim=[0, 1, 2, 3])
BOXES = dict(type="LoadAnnotations3D")
TURN = dict(type="GlobalRotScaleTrans", rot_range=[-0.3, 0.3])
RANGE = dict(type="PointsRangeFilter", point_cloud_range=[0, -1, 0, 2, 1, 1])


def noted(cache, **dataset):
    """What the cache of a config's teacher is told."""
    cfg = dict(
        model=dict(teacher=dict(model={}, cache=dict(cache))),
        train_dataloader=dict(dataset=dataset),
    )
    note_inputs(Config(cfg))
    return cfg["model"]["teacher"]["cache"].get("inputs", "not told")


class Config(dict):
    """Keys as attributes, the dictionaries inside as they are."""

    __getattr__ = dict.__getitem__


def test_scans_are_told_the_steps_that_decide_their_points():
    cache, inner = dict(type=ReplayCache, folder="c"), dict(pipeline=[POINTS, BOXES, TURN, RANGE])
    found = noted(cache, type=SeededDetections, dataset=inner)
    assert found == noted(cache, **inner)
    assert [step["use_dim"] for step in found if "use_dim" in step] == ["[0, 1, 2, 3]"]
    assert len(found) == 2  # neither labels nor what is replayed
    assert found == noted(cache, pipeline=[POINTS, RANGE])
    assert found != noted(cache, pipeline=[{**POINTS, "use_dim": [0, 1, 2]}, RANGE])
    assert noted(cache) is None
    with pytest.raises(ValueError, match="ObjectSample may change a sample"):
        noted(cache, pipeline=[POINTS, dict(type="ObjectSample")])


def test_images_are_told_their_normalisation():
    cache = dict(folder="c", size=(2, 2))
    default = noted(cache, pipeline=[dict(type=PackPairs)])
    assert default == noted(cache, pipeline=[dict(type=PackPairs, std=(0.229, 0.224, 0.225))])
    assert noted(cache, pipeline=[dict(type=PackPairs, std=(1, 1, 1))])["std"] == [1, 1, 1]
    assert noted(cache, pipeline=[]) is None
    assert noted(dict(type=dict), pipeline=[]) == "not told"  # one of somebody's own
