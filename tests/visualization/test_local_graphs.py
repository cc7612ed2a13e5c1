# SPDX-License-Identifier: Apache-2.0
"""The picture of PointDistiller's graphs."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.methods import PointDistiller
from lidistill.visualization.local_graphs import _apart, local_graph_picture
from tests.methods import small_detectors


def method(tap: str, name: str = "pointpillars") -> PointDistiller:
    make = {"pointpillars": small_detectors.pillars, "second": small_detectors.second}[name]
    channels = (8, 16) if tap == "voxel_encoder" else (64, 64)
    graph = dict(tap=tap, channels=channels, width=4, queries=30, neighbours=5)
    return PointDistiller(make(width=8), dict(model=make(width=16)), dict(one=graph))


@pytest.mark.parametrize(
    ("tap", "name"),
    [("voxel_encoder", "pointpillars"), ("middle_encoder.encoder_layers.encoder_layer3", "second")],
)
def test_places_and_graphs_are_drawn(tap, name):
    picture = local_graph_picture(method(tap, name), small_detectors.batch(name), size=200)
    assert picture.shape == (200, 408, 3)
    assert picture.dtype == np.uint8
    for view in (picture[:, :200], picture[:, -200:]):
        coloured = np.ptp(view.astype(int), axis=2) > 40
        assert 20 < coloured.sum() < 20_000


def test_the_vehicle_drives_up_in_either_frame():
    """nuScenes' LiDAR looks along y: its scans lay on their side below the vehicle's arrow."""
    graphs, batch = method("voxel_encoder"), small_detectors.batch()
    along_x, along_y = (
        local_graph_picture(graphs, batch, size=200, forward=axis).astype(int) for axis in "xy"
    )
    turned = np.rot90(along_x[:, :200], -1)  # a view whose x points up, turned so that its y does
    far = np.hypot(*np.meshgrid(*[np.arange(200) - 99.5] * 2)) > 15  # from the vehicle
    apart = np.abs(along_y[:, :200] - turned)[far].mean()
    assert apart < 0.25 * np.abs(along_y[:, :200] - along_x[:, :200])[far].mean()


def test_unknown_graph():
    with pytest.raises(ValueError, match=r"no graph 'two'; there are \['one'\]"):
        local_graph_picture(method("voxel_encoder"), small_detectors.batch(), name="two")


def test_chosen_places_lie_apart():
    xy = np.array([[0.0, 0], [0.1, 0], [9, 0], [9.1, 0], [0, 5]])
    assert _apart(xy, 3) == [0, 3, 4]
    assert _apart(xy[:2], 5) == [0, 1]
    assert _apart(np.zeros((0, 2)), 5) == []
