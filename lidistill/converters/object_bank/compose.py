# SPDX-License-Identifier: Apache-2.0
"""An ordinary cloud to an object-complete one: take out first, put in after.

The rule, whatever the order of the boxes: every point in any annotated box of the frame is taken
out; the others stay bit for bit, in order; then the whole cloud of each object is put in. Where
boxes overlap, both objects keep all their points.

Differs from the authors' release: there each object's box was emptied when its turn came, so that
it deleted what had been pasted before, in an order that changed from run to run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.bank import MILLIMETRE, MIRRORED, REFINED, SceneBank
from lidistill.converters.object_bank.tracks import inverses
from lidistill.geometry.frames import apply_transform
from lidistill.io import DataError
from lidistill.ops.boxes.object_points import membership, paste_objects, points_by_box

WINDOWS = ("all", "past")
LOOKED_AT = 16  # points of an object in this frame that are looked for; fewer in all tell nothing
MOVED = 0.005  # metres: the bank rounds to millimetres


@dataclass(frozen=True)
class ComposeOptions:
    """What is put in.

    Attributes:
        window: ``"all"``; ``"past"``: from this frame and earlier ones; or k: from frames at most k
            keyframes away.
        mirrored: put mirrored points in, where the bank has some.
        min_points: an object with fewer stays as it is in the frame.
    """

    window: str | int = "all"
    mirrored: bool = True
    min_points: int = 1

    def __post_init__(self) -> None:
        known = self.window in WINDOWS if isinstance(self.window, str) else self.window >= 0
        if not known:
            raise ValueError(
                f"window: expected {' or '.join(map(repr, WINDOWS))} or a number of keyframes "
                f">= 0, got {self.window!r}"
            )


@dataclass(frozen=True)
class Composed:
    """An object-complete cloud.

    Attributes:
        removed: (N,) bool which of the given points were taken out.
        cloud: (kept + Q, C) float32: what was kept, in order, then what was put in.
        starts: (P,) first row in the bank of each object put in.
        counts: (P,) its rows.
        instances: (P,) which objects.
        seen: (sum of counts,) which of these rows were put in; None = all.
        frame: index in the bank.
        bank: of the scene.
    """

    removed: NDArray[np.bool_]
    cloud: NDArray[np.float32]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    instances: NDArray[np.int64]
    seen: NDArray[np.bool_] | None
    frame: int
    bank: SceneBank

    @property
    def pasted(self) -> NDArray[np.float32]:
        """(Q, C) what was put in, columns as the given cloud has; a part of ``cloud``."""
        return self.cloud[len(self.removed) - np.count_nonzero(self.removed) :]

    @property
    def rows(self) -> NDArray[np.int64]:
        """(Q,) rows of the bank that were put in."""
        first = np.repeat(self.starts - np.cumsum(self.counts) + self.counts, self.counts)
        return self._chosen(first + np.arange(len(first)))

    @property
    def instance(self) -> NDArray[np.int64]:
        """(Q,) instance of each."""
        return self._chosen(np.repeat(self.instances, self.counts))

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(Q,) how long before this frame each was seen; negative for later ones."""
        times = self.bank.frame_seconds
        return times[self.frame] - times[self.bank.source[self.rows]]

    @property
    def flags(self) -> NDArray[np.uint8]:
        """(Q,) as in the bank."""
        return self.bank.flags[self.rows]

    def _chosen(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        return values if self.seen is None else values[self.seen]


def compose(
    points: NDArray[np.float32],
    bank: SceneBank,
    frame: int,
    options: ComposeOptions | None = None,
    ring_column: int | None = None,
) -> Composed:
    """Complete one frame's objects.

    Args:
        points: (N, C) x, y, z in the frame's sensor, intensity, then more.
        bank: of its scene.
        frame: its index there.
        options: what is put in.
        ring_column: where the ring goes; further columns of pasted points are 0.

    Raises:
        DataError: the cloud is not the one that the bank was made from: of the points that the bank
            has from this frame, none is there.
    """
    options = options or ComposeOptions()
    boxes = bank.boxes_of(frame)
    instances = bank.box_instance[boxes]
    starts, counts = _window(bank, instances, frame, options.window)
    used = counts >= options.min_points
    instances, starts, counts = instances[used], starts[used], counts[used]
    sizes = bank.box_sizes[boxes][used]
    found = points_by_box(
        points,
        inverses(bank.sensor_from_box[boxes][used]),
        np.where(sizes > 0, sizes / 2, -1.0),
        float(bank.ground_margin[0]),
    )
    _check_own_view(points[found.rows, :3], bank, frame, boxes.start + np.flatnonzero(used))
    removed = membership(found, len(points))
    kept, total = len(points) - np.count_nonzero(removed), int(counts.sum())
    cloud = np.empty((kept + total, points.shape[1]), dtype=np.float32)
    np.compress(~removed, points, axis=0, out=cloud[:kept])
    values = [(3, bank.intensity, float(bank.intensity_max[0]) / 255.0)]
    if ring_column is not None and len(bank.ring):
        values.append((ring_column, bank.ring, 1.0))
    placed = bank.sensor_from_object[boxes][used]
    paste_objects(bank.xyz, starts, counts, placed, MILLIMETRE, cloud[kept:], values)
    made = Composed(removed, cloud, starts, counts, instances, None, frame, bank)
    if options.mirrored or not len(bank.flags):
        return made
    seen = (made.flags & MIRRORED) == 0
    cloud = np.concatenate([cloud[:kept], cloud[kept:][seen]])
    return replace(made, cloud=cloud, seen=seen)


def _check_own_view(
    inside: NDArray[np.float32], bank: SceneBank, frame: int, boxes: NDArray[np.int64]
) -> None:
    """A cloud of another frame or drive would be completed with objects that never stood there.

    Args:
        inside: (K, 3) the cloud's points in the boxes.
        bank: of the scene.
        frame: its index there.
        boxes: rows of the frame's boxes.
    """
    known = 0
    for row in boxes.tolist():  # as a rule the first point of the first box is there
        first, last = bank.offsets[bank.box_instance[row] :][:2]
        source = bank.source[first:last]
        rows = first + np.arange(*np.searchsorted(source, [frame, frame + 1]))
        rows = rows[bank.flags[rows] & (MIRRORED | REFINED) == 0]
        chosen = rows[:: max(1, len(rows) // LOOKED_AT)][:LOOKED_AT]
        own = apply_transform(bank.sensor_from_object[row], bank.xyz[chosen] * MILLIMETRE)
        if any(_is_among(point, inside) for point in own):
            return
        known += len(own)
    if known >= LOOKED_AT:  # few points tell nothing
        raise DataError(
            f"Expected the cloud that the bank has as {bank.frame_tokens[frame]}: of "
            f"{known} points that it holds from this frame, none is in the cloud.",
            token=str(bank.frame_tokens[frame]),
            fix="make the bank of this data set's own scenes: frames are known by their names, and "
            "those of several drives may be called alike; complete frames before augmentations, "
            "which move points.",
        )


def _is_among(point: NDArray[np.float64], cloud: NDArray[np.float32]) -> bool:
    near = cloud[np.abs(cloud[:, 0] - point[0]) <= MOVED]
    return bool((np.abs(near - point) <= MOVED).all(axis=1).any())


def _window(
    bank: SceneBank, instances: NDArray[np.int64], frame: int, window: str | int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row and number of rows of each object's points that are seen in the window."""
    starts = bank.offsets[instances]
    counts = bank.offsets[instances + 1] - starts
    if window == "all":
        return starts, counts
    first, last = 0, frame
    if isinstance(window, int):
        keys = np.flatnonzero(bank.frame_key)
        place = int(np.searchsorted(keys, frame))
        first = int(keys[max(0, place - window)])
        last = int(keys[min(len(keys) - 1, place + window)])
    for row, instance in enumerate(instances):
        own = bank.source[bank.offsets[instance] : bank.offsets[instance + 1]]
        low = int(np.searchsorted(own, first, "left"))
        starts[row] += low
        counts[row] = int(np.searchsorted(own, last, "right")) - low
    return starts, counts
