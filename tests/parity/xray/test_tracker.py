# SPDX-License-Identifier: Apache-2.0
"""Tracks against the authors' tracker: the same but where it gives one track two boxes."""

import numpy as np
import pytest

from lidistill.converters.object_bank.follow import Detections, FollowOptions, follow
from lidistill.converters.object_bank.tracks import upright_boxes
from tests.conftest import parity_files

AS_RELEASED = FollowOptions(
    score=0.0, reach=2.0, max_gap=0, min_length=1, constant_velocity=False, one_size=False
)


@pytest.mark.parametrize("path", parity_files("xray", "tracker.npz"))
def test_partition(path):
    data = np.load(path)
    frames, theirs = data["frame"], data["track_id"]
    count = int(frames.max()) + 1
    rows_of = [np.flatnonzero(frames == index) for index in range(count)]
    boxes = data["box_xyz_lwh_yaw"]
    detections = [
        Detections(
            float(index),
            upright_boxes(boxes[rows]),
            boxes[rows, 3:6],
            np.ones(len(rows)),
            [str(name) for name in data["name"][rows]],
        )
        for index, rows in enumerate(rows_of)
    ]
    ours = np.full(len(frames), -1)
    for number, track in enumerate(follow(detections, AS_RELEASED)):
        for index, row in zip(track.frames, track.rows, strict=True):
            ours[rows_of[index][row]] = number
    assert (ours >= 0).all()
    for number in np.unique(ours):
        own = frames[ours == number]
        assert len(np.unique(own)) == len(own)  # never two boxes of a frame
    doubled = [i for i in np.unique(theirs) if len(set(frames[theirs == i])) < (theirs == i).sum()]
    assert doubled  # the flaw that the fixture holds
    for number in np.unique(theirs):
        if number not in doubled:
            mine = np.unique(ours[theirs == number])
            assert len(mine) == 1
            np.testing.assert_array_equal(ours == mine[0], theirs == number)
