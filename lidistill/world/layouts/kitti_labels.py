# SPDX-License-Identifier: Apache-2.0
"""KITTI labels: camera-frame boxes, 2-D boxes, truncation, occlusion, DontCare, tracklets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.world.catalog import KINDS
from lidistill.world.scene.scene import Scene, Snapshot
from lidistill.world.sensing.sensors import VELODYNE_HEIGHT, Camera, kitti_calibration
from lidistill.world.sensing.visibility import count_visible, pixel_windows

LABELLED_RANGE = 70.0  # metres; farther objects are DontCare
HIDDEN = 0.12  # visible share below which an object is not labelled at all
OCCLUSION = (0.15, 0.48, 0.78)  # visible share: below -> 3 unknown, 2 largely, 1 partly, else 0
DONT_CARE_HEIGHT = 22.0  # pixels; smaller objects are DontCare


@dataclass(frozen=True)
class Label:
    """One KITTI label.

    Attributes:
        thing: index of the thing in its scene (the track id), -1 for DontCare.
        kind: KITTI type.
        truncated, occluded, alpha: as in KITTI.
        window: 2-D box left, top, right, bottom in pixels, clipped.
        size: height, width, length; location: x, y, z of the bottom centre in the rectified camera
            frame; rotation_y: radians.
        velodyne: (7,) x, y, z of the bottom centre, l, w, h, yaw in the velodyne's frame.
    """

    thing: int
    kind: str
    truncated: float
    occluded: int
    alpha: float
    window: tuple[float, float, float, float]
    size: tuple[float, float, float]
    location: tuple[float, float, float]
    rotation_y: float
    velodyne: NDArray[np.float64]

    def line(self, digits: int = 2) -> str:
        """The label as KITTI writes it."""
        numbers = [self.alpha, *self.window, *self.size, *self.location, self.rotation_y]
        if self.kind == "DontCare":
            front = "DontCare -1 -1"
        else:
            front = f"{self.kind} {self.truncated:.2f} {self.occluded}"
        return front + "".join(f" {value:.{digits}f}" for value in numbers)


def wrap(angle: float) -> float:
    """The angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def boxes_in_velodyne(scene: Scene, time: float) -> NDArray[np.float64]:
    """(O, 7) x, y, z of the BOTTOM centre, l, w, h, yaw of all things in the velodyne's frame."""
    boxes = scene.boxes(time)
    x, y, yaw = scene.ego.pose(time)
    cos, sin = math.cos(yaw), math.sin(yaw)
    dx, dy = boxes[:, 0] - x, boxes[:, 1] - y
    out = boxes.copy()
    out[:, 0], out[:, 1] = cos * dx + sin * dy, cos * dy - sin * dx
    out[:, 2] += -0.5 * boxes[:, 5] - VELODYNE_HEIGHT
    out[:, 6] -= yaw
    return out


def label_frame(
    scene: Scene, snapshot: Snapshot, time: float, camera: Camera, surface: NDArray[np.int32]
) -> list[Label]:
    """All labels of a picture: objects near to far, DontCare regions last."""
    picked = [k for k, t in enumerate(scene.things) if t.boxed and KINDS[t.kind].kitti is not None]
    things = np.array(picked, dtype=np.int64)
    ego = scene.ego.pose(time)
    boxes = scene.boxes(time)[things]
    low = boxes_in_velodyne(scene, time)[things]
    windows, extents, ahead = pixel_windows(boxes, camera, ego)
    reach = np.hypot(low[:, 0], low[:, 1])
    usable = (windows[:, 1] - windows[:, 0] > 1) & (windows[:, 3] - windows[:, 2] > 1)
    usable &= (ahead | (reach < 12.0)) & (low[:, 0] > 0.5) & (reach < 130.0)
    chosen = np.nonzero(usable)[0]
    chosen = chosen[np.argsort(reach[chosen], kind="stable")]
    total, seen = count_visible(snapshot, things[chosen], boxes[chosen], camera, ego, surface)
    limit = np.array([camera.width - 1, camera.height - 1] * 2, dtype=np.float64)
    labels, ignored = [], []
    for i, k in enumerate(chosen):
        share = seen[i] / max(int(total[i]), 1)
        if share < HIDDEN:
            continue
        extent = extents[k]
        clipped = np.clip(extent, 0.0, limit)
        label = _label(int(things[k]), scene, low[k], extent, clipped, float(share))
        small = clipped[3] - clipped[1] < DONT_CARE_HEIGHT
        if reach[k] > LABELLED_RANGE or small:
            ignored.append(_dont_care(label.window))
        else:
            labels.append(label)
    return labels + ignored


def _label(
    thing: int,
    scene: Scene,
    low: NDArray[np.float64],
    extent: NDArray[np.float64],
    clipped: NDArray[np.float64],
    share: float,
) -> Label:
    calibration = kitti_calibration()
    rect = calibration["R0_rect"] @ calibration["Tr_velo_to_cam"] @ np.array([*low[:3], 1.0])
    area = (extent[2] - extent[0]) * (extent[3] - extent[1])
    inside = (clipped[2] - clipped[0]) * (clipped[3] - clipped[1])
    rotation_y = wrap(-float(low[6]) - math.pi / 2)
    kind = KINDS[scene.things[thing].kind].kitti
    return Label(
        thing,
        str(kind),
        float(np.clip(1.0 - inside / max(area, 1e-9), 0.0, 1.0)),
        3 - int(np.digitize(share, OCCLUSION)),
        wrap(rotation_y - math.atan2(rect[0], rect[2])),
        (float(clipped[0]), float(clipped[1]), float(clipped[2]), float(clipped[3])),
        (float(low[5]), float(low[4]), float(low[3])),
        (float(rect[0]), float(rect[1]), float(rect[2])),
        rotation_y,
        low,
    )


def _dont_care(window: tuple[float, float, float, float]) -> Label:
    far = (-1000.0, -1000.0, -1000.0)
    nothing = np.zeros(7)
    return Label(-1, "DontCare", -1, -1, -10.0, window, (-1.0, -1.0, -1.0), far, -10.0, nothing)


# ---- raw tracklets -----------------------------------------------------------------------------

_POSE = (
    ("state", 2),
    ("occlusion", 0),
    ("occlusion_kf", 0),
    ("truncation", 0),
    ("amt_occlusion", 0),
    ("amt_occlusion_kf", 0),
    ("amt_border_l", 0),
    ("amt_border_r", 0),
    ("amt_border_kf", 0),
)


@dataclass
class Track:
    """A thing's boxes over consecutive frames; ``states`` are KITTI's truncation codes."""

    kind: str
    first: int
    boxes: list[NDArray[np.float64]]
    occlusion: list[int]
    truncation: list[int]


def tracklets_xml(tracks: list[Track]) -> str:
    """``tracklet_labels.xml`` of KITTI raw (a boost archive)."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>',
        "<!DOCTYPE boost_serialization>",
        '<boost_serialization signature="serialization::archive" version="9">',
        '<tracklets class_id="0" tracking_level="0" version="0">',
        f"\t<count>{len(tracks)}</count>",
        "\t<item_version>1</item_version>",
    ]
    for number, track in enumerate(tracks):
        first = ' class_id="1" tracking_level="0" version="1"' if number == 0 else ""
        length, width, height = track.boxes[0][3:6]
        lines += [
            f"\t<item{first}>",
            f"\t\t<objectType>{track.kind}</objectType>",
            f"\t\t<h>{height:.7g}</h>",
            f"\t\t<w>{width:.7g}</w>",
            f"\t\t<l>{length:.7g}</l>",
            f"\t\t<first_frame>{track.first}</first_frame>",
            "\t\t<poses" + (' class_id="2" tracking_level="0" version="0">' if not number else ">"),
            f"\t\t\t<count>{len(track.boxes)}</count>",
            "\t\t\t<item_version>2</item_version>",
        ]
        for k, box in enumerate(track.boxes):
            begin = number == 0 and k == 0
            lines += _pose_lines(box, track.occlusion[k], track.truncation[k], begin)
        lines += ["\t\t</poses>", "\t\t<finished>1</finished>", "\t</item>"]
    return "\n".join([*lines, "</tracklets>", "</boost_serialization>"]) + "\n"


def _pose_lines(
    box: NDArray[np.float64], occlusion: int, truncation: int, first: bool
) -> list[str]:
    values: list[tuple[str, float]] = [
        *zip(("tx", "ty", "tz"), map(float, box[:3]), strict=True),
        ("rx", 0),
        ("ry", 0),
        ("rz", float(box[6])),
        *_POSE,
    ]
    known = {"occlusion": occlusion, "truncation": truncation}
    head = ' class_id="3" tracking_level="0" version="2"' if first else ""
    body = [f"\t\t\t\t<{key}>{known.get(key, value):.17g}</{key}>" for key, value in values]
    return [f"\t\t\t<item{head}>", *body, "\t\t\t</item>"]
