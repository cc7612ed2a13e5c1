# SPDX-License-Identifier: Apache-2.0
"""An ordinary cloud to an object-complete one: take out first, put in after.

The rule, whatever the order of the boxes: every point in any annotated box of the frame is taken
out; the others stay bit for bit, in order; then the whole cloud of each object is put in. Where
boxes overlap, both objects keep all their points.

Differs from the authors' release: there each object's box was emptied when its turn came, so that
it deleted what had been pasted before, in an order that changed from run to run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.bank import MILLIMETRE, MIRRORED, SceneBank
from lidistill.converters.object_bank.tracks import inverses
from lidistill.ops.boxes.object_points import membership, paste_objects, points_by_box

WINDOWS = ("all", "past")


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
        pasted: (Q, C) float32 what was put in, columns as the given cloud has.
        instance: (Q,) instance of each.
        seconds: (Q,) how long before this frame each was seen; negative for later ones.
        flags: (Q,) uint8 as in the bank.
    """

    removed: NDArray[np.bool_]
    pasted: NDArray[np.float32]
    instance: NDArray[np.int64]
    seconds: NDArray[np.float64]
    flags: NDArray[np.uint8]

    def cloud(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The whole cloud (kept + pasted, C)."""
        kept = points[~self.removed]
        out = np.empty((len(kept) + len(self.pasted), points.shape[1]), dtype=np.float32)
        out[: len(kept)], out[len(kept) :] = kept, self.pasted
        return out


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
    """
    options = options or ComposeOptions()
    boxes = bank.boxes_of(frame)
    instances = bank.box_instance[boxes]
    starts, counts = _window(bank, instances, frame, options.window)
    used = counts >= options.min_points
    instances, starts, counts = instances[used], starts[used], counts[used]
    found = points_by_box(
        points,
        inverses(bank.sensor_from_box[boxes][used]),
        np.where(bank.box_sizes[boxes][used] > 0, bank.box_sizes[boxes][used] / 2, -1.0),
        float(bank.ground_margin[0]),
    )
    total = int(counts.sum())
    pasted = np.zeros((total, points.shape[1]), dtype=np.float32)
    paste_objects(
        bank.xyz, starts, counts, bank.sensor_from_object[boxes][used], MILLIMETRE, pasted
    )
    rows = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(total)
    flags = bank.flags[rows]
    if points.shape[1] > 3:
        pasted[:, 3] = bank.intensity[rows] * np.float32(bank.intensity_max[0] / 255.0)
    if ring_column is not None and len(bank.ring):
        pasted[:, ring_column] = bank.ring[rows]
    instance = np.repeat(instances, counts)
    seconds = bank.frame_seconds[frame] - bank.frame_seconds[bank.source[rows]]
    if not options.mirrored:
        seen = (flags & MIRRORED) == 0
        pasted, instance, seconds, flags = pasted[seen], instance[seen], seconds[seen], flags[seen]
    return Composed(membership(found, len(points)), pasted, instance, seconds, flags)


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
