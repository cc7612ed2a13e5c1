# SPDX-License-Identifier: Apache-2.0
"""Composition: what is taken out and put in, windows, overlaps, columns, files."""

from dataclasses import replace

import numpy as np
import pytest

from lidistill.converters.object_bank.bank import MIRRORED
from lidistill.converters.object_bank.compose import ComposeOptions, compose
from lidistill.converters.object_bank.finish import make_bank
from lidistill.converters.object_bank.options import BankOptions
from lidistill.geometry.boxes import points_in_boxes
from lidistill.geometry.frames import apply_transform, invert
from lidistill.io import DataError
from tests.converters.object_bank.scenes import box_at, make_scene

PLAIN = BankOptions.plain()


@pytest.fixture
def tracks(tmp_path):
    return make_scene(tmp_path / "points")


def world(tracks, frame, points):
    return apply_transform(tracks.frames[frame].world_from_sensor, points[:, :3].astype(float))


def test_take_out_first_put_in_after(tracks):
    bank = make_bank(tracks, BankOptions(voxel=0.0))
    frame = 4
    points = tracks.frames[frame].read()
    found = compose(points, bank, frame, ring_column=4)
    boxes = np.array([box_at(name, 1.0) for name in tracks.tokens])
    inside = points_in_boxes(world(tracks, frame, points), boxes)
    np.testing.assert_array_equal(found.removed, inside.any(axis=1))
    cloud = found.cloud
    kept = len(points) - found.removed.sum()
    np.testing.assert_array_equal(cloud[:kept], points[~found.removed])
    assert len(found.pasted) == len(bank.xyz)
    grown = boxes.copy()
    grown[:, 3:6] += 0.01
    pasted = points_in_boxes(world(tracks, frame, found.pasted), grown)
    assert pasted[np.arange(len(pasted)), found.instance].all()


def test_own_points_come_back(tracks):
    """A window of this frame alone gives the frame's own points, to the millimetre."""
    bank = make_bank(tracks, PLAIN)
    points = tracks.frames[2].read()
    found = compose(points, bank, 2, ComposeOptions(window=0), ring_column=4)
    assert len(found.pasted) == found.removed.sum()
    taken = points[found.removed]
    order = [np.lexsort(cloud[:, :3].round(1).T) for cloud in (taken, found.pasted)]
    # the millimetre grid is that of the box: sqrt(3) / 2 mm at most
    near = np.linalg.norm(taken[:, None, :3] - found.pasted[None, :, :3], axis=2)
    assert near.min(axis=1).max() < 1e-3
    match = near.argmin(axis=1)
    np.testing.assert_array_equal(taken[:, 3:], found.pasted[match][:, 3:])
    assert (found.seconds == 0).all()
    assert len(order) == 2


def test_windows(tracks):
    bank = make_bank(tracks, BankOptions(voxel=0.0, caps=None))
    points = tracks.frames[4].read()
    sources = {}
    for window in ("all", "past", 1, 0):
        found = compose(points, bank, 4, ComposeOptions(window=window))
        sources[window] = set(np.round(found.seconds / 0.25).astype(int).tolist())
    assert sources["all"] == set(range(-4, 5))
    assert sources["past"] == set(range(5))
    assert sources[1] == set(range(-2, 3))
    assert sources[0] == {0}
    with pytest.raises(ValueError, match="window"):
        ComposeOptions(window="future")
    with pytest.raises(ValueError, match="window"):
        ComposeOptions(window=-1)


def test_mirrored_points_can_be_left_out(tracks):
    bank = make_bank(tracks, replace(PLAIN, mirror=True))
    points = tracks.frames[0].read()
    with_them = compose(points, bank, 0)
    without = compose(points, bank, 0, ComposeOptions(mirrored=False))
    assert (with_them.flags & MIRRORED).any()
    assert not (without.flags & MIRRORED).any()
    assert len(without.pasted) == len(without.instance) == (with_them.flags & MIRRORED == 0).sum()


def test_an_object_without_points_stays_as_it_is(tracks):
    bank = make_bank(tracks, PLAIN)
    points = tracks.frames[0].read()
    few = ComposeOptions(min_points=10_000)
    found = compose(points, bank, 0, few)
    np.testing.assert_array_equal(found.cloud, points)


def test_standing_objects_keep_their_place(tracks):
    bank = make_bank(tracks, BankOptions())
    clouds = []
    for frame in (0, 8):
        found = compose(tracks.frames[frame].read(), bank, frame)
        clouds.append(world(tracks, frame, found.pasted[found.instance == 0]))
    np.testing.assert_allclose(*clouds, atol=1e-5)


def test_a_frame_without_boxes(tracks):
    bank = make_bank(tracks, BankOptions())
    points = tracks.frames[1].read()
    found = compose(points, bank, 1)  # a sweep
    np.testing.assert_array_equal(found.cloud, points)
    assert found.pasted.shape == (0, 5)


def test_four_columns(tracks):
    bank = make_bank(tracks, PLAIN)
    points = tracks.frames[0].read()
    five = compose(points, bank, 0, ring_column=4)
    four = compose(np.ascontiguousarray(points[:, :4]), bank, 0)
    np.testing.assert_array_equal(four.pasted, five.pasted[:, :4])
    assert five.pasted[:, 4].any()
    assert np.isfinite(invert(bank.sensor_from_box)).all()


def test_another_cloud_is_not_completed(tracks):
    """Frames are known by their names, and those of other drives may be called alike."""
    bank = make_bank(tracks, BankOptions())
    points = tracks.frames[4].read()
    compose(points[points[:, 0] > 0], bank, 4)  # a part of it is enough
    compose(points[::2].copy(), bank, 4)
    for other in (tracks.frames[6].read(), points + np.float32(0.5), points[:0]):
        with pytest.raises(DataError, match=r"(?s)the cloud that the bank has as frame4.*alike"):
            compose(other, bank, 4)
