# SPDX-License-Identifier: Apache-2.0
"""LiDAR scans: layout, exact box counts, noise, and that intensity does not give the class away."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lidistill.world.catalog import CATEGORIES, KINDS
from lidistill.world.scene.blueprint import MARGIN
from lidistill.world.scene.compose import compose
from lidistill.world.scene.scene import Scene
from lidistill.world.scene.site import Profile
from lidistill.world.sensing.scan import Scan, scan
from lidistill.world.sensing.sensors import Lidar, kitti_lidar, nuscenes_lidar


def take(scene: Scene, time: float, lidar: Lidar, seed: int = 0) -> Scan:
    rng = np.random.default_rng(seed)
    return scan(scene, scene.snapshot(time), lidar, scene.ego.pose(time), rng)


def to_world(scene: Scene, time: float, lidar: Lidar, xyz: np.ndarray) -> np.ndarray:
    x, y, yaw = scene.ego.pose(time)
    in_ego = xyz.astype(float) @ lidar.ego_from_lidar[:3, :3].T + lidar.ego_from_lidar[:3, 3]
    c, s = math.cos(yaw), math.sin(yaw)
    return in_ego @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [x, y, 0]


def inside(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    d = points - box[:3]
    c, s = math.cos(box[6]), math.sin(box[6])
    local = np.stack([c * d[:, 0] + s * d[:, 1], c * d[:, 1] - s * d[:, 0], d[:, 2]], axis=1)
    return (np.abs(local) <= box[3:6] / 2).all(axis=1)


@pytest.fixture(scope="module")
def nuscenes_scan(scene) -> Scan:
    return take(scene, 1.5, nuscenes_lidar())


def test_layout_of_a_nuscenes_scan(nuscenes_scan):
    found = nuscenes_scan
    assert found.xyz.shape == (32 * 1084, 3)
    assert found.xyz.dtype == found.intensity.dtype == np.float32
    np.testing.assert_array_equal(found.ring[:64], np.tile(np.arange(32), 2))  # firing by firing
    azimuth = np.degrees(np.arctan2(found.xyz[:, 1], found.xyz[:, 0])).reshape(1084, 32)
    np.testing.assert_allclose(azimuth[0], 90.0, atol=1e-3)  # starts ahead: +y of the LiDAR
    np.testing.assert_allclose(azimuth[1], 90.0 - 360 / 1084, atol=1e-3)  # clockwise from above
    far = found.returned & (np.linalg.norm(found.xyz, axis=1) > 5)
    elevation = np.degrees(np.arcsin(found.xyz[:, 2] / np.linalg.norm(found.xyz, axis=1)))
    for k in range(12, 31):
        mine = elevation[far & (found.ring == k)]
        if len(mine):
            assert np.median(mine) == pytest.approx(-30.67 + 1.3333 * k, abs=0.05)


def test_rays_without_a_return_lie_near_the_origin(nuscenes_scan):
    lost = ~nuscenes_scan.returned
    assert 0.02 < lost.mean() < 0.35
    assert np.linalg.norm(nuscenes_scan.xyz[lost], axis=1).max() < 0.5
    assert (nuscenes_scan.label[lost] == CATEGORIES.index("noise")).all()
    assert (nuscenes_scan.intensity[lost] == 0).all()
    assert (nuscenes_scan.label[~lost] != CATEGORIES.index("noise")).all()


def test_the_ego_body_takes_its_share(nuscenes_scan):
    own = nuscenes_scan.label == CATEGORIES.index("vehicle.ego")
    assert 0.08 < own.mean() < 0.3
    assert np.linalg.norm(nuscenes_scan.xyz[own], axis=1).max() < 3.0


def test_intensity_range_and_median(nuscenes_scan):
    value = nuscenes_scan.intensity[nuscenes_scan.returned]
    assert value.min() >= 0
    assert value.max() <= 255
    assert (value == np.floor(value)).all()
    assert 8 <= np.median(value) <= 18  # real scans: 12 to 16


def test_kitti_scan_counts_and_intensity(scene):
    found = take(scene, 1.0, kitti_lidar())
    assert 90_000 < found.returned.sum() < 131_072
    value = found.intensity[found.returned]
    assert 0.12 <= np.median(value) <= 0.4
    assert value.max() <= 1.0
    assert found.owner.max() < len(scene.things)  # the ego's body is not seen


@pytest.mark.parametrize(
    "lidar", [nuscenes_lidar(361), kitti_lidar(256)], ids=["nuscenes", "kitti"]
)
def test_points_in_a_box_are_exactly_those_of_its_object(scene, lidar):
    for time in (0.0, 2.0):
        found = take(scene, time, lidar)
        points = to_world(scene, time, lidar, found.xyz)
        hit = 0
        for k, box in enumerate(scene.boxes(time)):
            if scene.things[k].boxed:
                mine = found.owner == k
                close = np.abs(points - box[:3]).max(axis=1) < 12
                assert close[mine].all()
                np.testing.assert_array_equal(
                    inside(points[close], box) & found.returned[close], mine[close]
                )
                hit += mine.any()
        assert hit > 20


def test_labels_follow_what_was_hit(scene, nuscenes_scan):
    owned = nuscenes_scan.owner >= 0
    kinds = [thing.kind for thing in scene.things] + ["ego"]
    expected = np.array([KINDS[kind].lidarseg for kind in kinds])
    np.testing.assert_array_equal(nuscenes_scan.label[owned], expected[nuscenes_scan.owner[owned]])
    points = to_world(scene, 1.5, nuscenes_lidar(), nuscenes_scan.xyz)
    road = nuscenes_scan.label == CATEGORIES.index("flat.driveable_surface")
    assert np.abs(points[road, 2]).max() < 0.06  # range noise only
    grass = nuscenes_scan.label == CATEGORIES.index("flat.terrain")
    if grass.any():
        heights = points[grass, 2] - scene.ground.levels.max()
        assert np.mean(heights > -0.06) > 0.9  # the rest: upright edges along side streets
        assert heights.std() > 0.01  # blades stop the beam at all heights


def test_range_noise_is_small_and_truncated(scene):
    lidar = nuscenes_lidar(271)
    a, b = take(scene, 1.0, lidar, 1), take(scene, 1.0, lidar, 2)
    both = a.returned & b.returned & (a.label == CATEGORIES.index("flat.driveable_surface"))
    gap = np.linalg.norm(a.xyz[both], axis=1) - np.linalg.norm(b.xyz[both], axis=1)
    assert np.std(gap) == pytest.approx(0.02 * np.sqrt(2), rel=0.1)
    assert np.abs(gap).max() < 2 * MARGIN


def test_dropout_grows_with_range(scene):
    """Over many scans of the same world, near ground is kept and far ground is thinned."""
    lidar = nuscenes_lidar(361)
    scans = [take(scene, 1.0, lidar, seed) for seed in range(4)]
    kept = np.mean([s.returned for s in scans], axis=0)
    reach = np.max([np.linalg.norm(s.xyz, axis=1) for s in scans], axis=0)
    near, far = (reach > 3) & (reach < 12), (reach > 40) & (reach < 80)
    assert kept[near].mean() > 0.9
    assert kept[far].mean() < kept[near].mean() - 0.05


def test_same_generator_same_scan(scene):
    lidar = nuscenes_lidar(91)
    a, b, c = take(scene, 1.0, lidar, 1), take(scene, 1.0, lidar, 1), take(scene, 1.0, lidar, 2)
    np.testing.assert_array_equal(a.xyz, b.xyz)
    np.testing.assert_array_equal(a.intensity, b.intensity)
    assert not np.array_equal(a.intensity, c.intensity)


# ---- the gate: intensity and height must not give the class away -------------------------------


def coarse(label: np.ndarray) -> np.ndarray:
    """Lidarseg classes grouped as in the challenge (16 classes, -1 ignored), by category name."""
    groups = ["barrier", "bicycle", "bus", "car", "construction", "motorcycle", "pedestrian"]
    groups += ["trafficcone", "trailer", "truck", "driveable", "flat.other", "sidewalk", "terrain"]
    groups += ["manmade", "vegetation"]
    table = np.full(len(CATEGORIES), -1)
    for index, name in enumerate(CATEGORIES):
        for k, group in enumerate(groups):
            if group in name.replace("construction_worker", "worker"):
                table[index] = k
    return table[label]


@pytest.fixture(scope="module")
def town() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Intensity, height and class of the points of twelve scenes."""
    lidar, result = nuscenes_lidar(181), []
    for seed in range(12):
        scene = compose("gate", (seed, 8), 2.0, Profile())
        found = take(scene, 1.0, lidar, seed)
        classes = coarse(found.label)
        keep = classes >= 0
        result.append((found.intensity[keep], found.xyz[keep, 2], classes[keep]))
    return result


def test_intensity_and_height_do_not_give_the_class_away(town):
    """A table of (intensity, height) cells, learnt on nine scenes, must stay below 0.45 mIoU."""
    counts = np.full((25 * 64, 16), 1e-3)
    confusion = np.zeros((16, 16))
    for number, (intensity, height, classes) in enumerate(town):
        cells = 64 * np.digitize(np.log1p(intensity), np.linspace(0.5, 5.0, 24))
        cells += np.digitize(height, np.linspace(-1.9, 2.0, 60))
        if number < 9:
            np.add.at(counts, (cells, classes), 1)
        else:
            weights = counts / counts.sum(axis=0) ** 0.5  # balanced a little, as a probe would be
            np.add.at(confusion, (classes, weights[cells].argmax(axis=1)), 1)
    hit = np.diag(confusion)
    iou = hit / np.maximum(confusion.sum(0) + confusion.sum(1) - hit, 1)
    present = confusion.sum(1) > 0
    assert present.sum() >= 14
    assert iou[present].mean() < 0.40


def test_intensities_of_two_classes_overlap(town):
    """Guessing by intensity which of two classes a point is of stays near a coin toss."""
    merged = [np.sort(np.concatenate([i[c == k] for i, _, c in town])) for k in range(16)]
    edges = []
    for a in range(16):
        for b in range(a):
            below = np.searchsorted(merged[b], merged[a], side="left").mean() / len(merged[b])
            upto = np.searchsorted(merged[b], merged[a], side="right").mean() / len(merged[b])
            edges.append(abs(0.5 * (below + upto) - 0.5))
    assert np.mean(edges) < 0.22
    assert max(edges) < 0.48
