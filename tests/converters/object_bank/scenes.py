# SPDX-License-Identifier: Apache-2.0
"""Small scenes for tests: a car that stands, one that drives, a person; with a sweep."""

import numpy as np

from lidistill.converters.object_bank.tracks import UNKNOWN, Frame, scene_tracks, upright_boxes
from lidistill.geometry.frames import apply_transform, compose, invert, rotation_about_z

SIZE = {"car": (4.0, 2.0, 1.5), "pedestrian": (0.6, 0.6, 1.8)}


def pose_of(index):
    """The sensor turns and drives."""
    pose = rotation_about_z(0.05 * index)
    pose[:3, 3] = [1.5 * index, 0.2 * index, 1.8]
    return pose


def box_at(name, seconds):
    """World box of an object: x, y, z, l, w, h, yaw."""
    length, width, height = SIZE[name.rstrip("0123456789")]
    if name == "car0":
        return [20.0, 6.0, height / 2, length, width, height, 0.3]
    if name == "car1":
        return [5.0 + 8.0 * seconds, -5.0, height / 2, length, width, height, 0.02]
    return [10.0, 2.0 + 1.4 * seconds, height / 2, length, width, height, np.pi / 2]


def surface(name, rng, count):
    """Points on an object's surface in its box's frame, never quite on a face of the box."""
    half = np.array(SIZE[name.rstrip("0123456789")]) / 2
    xyz = rng.uniform(-1, 1, (count, 3))
    side = rng.integers(0, 3, count)
    xyz[np.arange(count), side] = np.sign(xyz[np.arange(count), side])
    return xyz * half * 0.99


def make_scene(
    folder,
    keys=5,
    sweeps=True,
    claims=True,
    objects=("car0", "car1", "pedestrian0"),
    ground=200,
):
    """Files and tracks; every other frame is a sweep; so many points are of the ground."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    steps = 2 if sweeps else 1
    frames, rows = [], []
    for index in range((keys - 1) * steps + 1):
        seconds = index * 0.5 / steps
        world_from_sensor = pose_of(seconds * 2)
        clouds = [rng.uniform([-30, -30, -2.5], [30, 30, -1.9], (ground, 3))]
        key = index % steps == 0
        for name in objects:
            box = np.array([box_at(name, seconds)])
            world_from_box = upright_boxes(box)[0]
            count = int(rng.integers(15, 40))
            local = surface(name, rng, count)
            clouds.append(
                apply_transform(compose(invert(world_from_sensor), world_from_box), local)
            )
            if key:
                claimed = count if claims else UNKNOWN
                rows.append(
                    (index, name, name.rstrip("0123456789"), world_from_box, box[0, 3:6], claimed)
                )
        xyz = np.concatenate(clouds)
        points = np.zeros((len(xyz), 5), dtype=np.float32)
        points[:, :3] = xyz
        points[:, 3] = rng.integers(0, 256, len(xyz))
        points[:, 4] = rng.integers(0, 32, len(xyz))
        path = folder / f"{index:03d}.bin"
        points.tofile(path)
        frames.append(Frame(f"frame{index}", seconds, world_from_sensor, path, 5, key))
    return scene_tracks("scene", frames, rows)


class ListSource:
    """Scenes made for a test."""

    def __init__(self, *scenes):
        self.found = {scene.name: scene for scene in scenes}

    def scenes(self):
        return list(self.found)

    def read(self, scene):
        return self.found[scene]

    def recorded(self):
        return {"layout": "test"}
