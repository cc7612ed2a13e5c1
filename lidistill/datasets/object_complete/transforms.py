# SPDX-License-Identifier: Apache-2.0
"""Object-complete frames in the pipeline: composed when they are loaded, from a bank.

For a teacher that sees complete frames beside a student that sees ordinary ones, both clouds travel
as one through the augmentations: rows have a mark that says whose they are. So both see the same
flip, turn, scale, range and order of points; the mark is taken off at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lidistill.converters.info_paths import frame_token
from lidistill.converters.object_bank.build import BankReader
from lidistill.converters.object_bank.compose import Composed, ComposeOptions, compose
from lidistill.converters.object_bank.export import bank_frame
from lidistill.io import DataError
from lidistill.registry import TRANSFORMS

TEACHER_POINTS = "teacher_points"
BOTH, STUDENT, TEACHER = 0.0, 1.0, 2.0
VIEWS = ("complete", "both")


@TRANSFORMS.register_module()
class ComposeObjectComplete:
    """Complete the objects of a frame; after the points are loaded, before augmentations.

    In each annotated box the frame's own points are taken out, then the object's whole cloud is put
    in (`lidistill.converters.object_bank.compose`).

    Args:
        bank: folder of ``lidistill object_bank``.
        view: ``"complete"`` gives the completed cloud (a teacher's training and test);
            ``"both"`` gives the rows of both clouds with a mark as last column, which
            :class:`SplitObjectComplete` takes off behind the packing.
        window: ``"all"``, ``"past"`` or a number of keyframes.
        mirrored: put mirrored points in, where the bank has some.
        ring_column: column of the loaded points that holds the ring; None = none.
        time_column: column that holds seconds before the frame; None = none.
        time: what pasted points have there: ``"now"`` (0) or ``"lag"`` (when they were seen).
        missing: ``"error"``, or ``"keep"``: a frame that the bank does not know stays as it is.
    """

    def __init__(
        self,
        bank: str,
        view: str = "complete",
        window: str | int = "all",
        mirrored: bool = True,
        ring_column: int | None = None,
        time_column: int | None = None,
        time: str = "now",
        missing: str = "error",
    ) -> None:
        for name, value, known in (
            ("view", view, VIEWS),
            ("time", time, ("now", "lag")),
            ("missing", missing, ("error", "keep")),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected {' or '.join(known)}, got {value!r}")
        self.bank, self.view, self.missing = bank, view, missing
        self.options = ComposeOptions(window, mirrored)
        self.ring_column, self.time_column, self.time = ring_column, time_column, time
        self._reader: BankReader | None = None

    @property
    def reader(self) -> BankReader:
        """The bank; opened when first needed, so a config may name one that is made later."""
        if self._reader is None:
            self._reader = BankReader(self.bank)
        return self._reader

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``points`` of mmdet3d's sample."""
        points = results["points"].tensor.numpy()
        composed = self._compose(points, results)
        if self.view == "complete":
            rows = points if composed is None else composed.cloud
        else:
            rows = _marked(points, composed)
        results["points"] = _like(results["points"], rows)
        return results

    def _compose(self, points: np.ndarray, results: dict[str, Any]) -> Composed | None:
        place = bank_frame(self.reader, results)
        if place is None:
            if self.missing == "keep":
                return None
            raise DataError(
                "The bank does not know this frame.",
                path=self.bank,
                token=frame_token(results),
                fix="make the bank of this frame's scene (lidistill object_bank), or let such "
                "frames stay as they are with missing='keep'.",
            )
        scene, frame = place
        columns = np.ascontiguousarray(points)
        composed = compose(columns, self.reader.scene(scene), frame, self.options, self.ring_column)
        if self.time_column is not None:
            lag = composed.seconds if self.time == "lag" else 0.0
            composed.pasted[:, self.time_column] = lag
        return composed


@TRANSFORMS.register_module()
class SplitObjectComplete:
    """Two clouds out of a marked one; the last transform, behind ``Pack3DDetInputs``.

    ``inputs`` then has the ordinary ``points`` and the completed ``teacher_points``.
    """

    def __call__(self, packed: dict[str, Any]) -> dict[str, Any]:
        """Split ``inputs.points``."""
        points = packed["inputs"]["points"]
        mark = points[:, -1]
        own, others = mark != TEACHER, mark != STUDENT
        packed["inputs"]["points"] = points[own, :-1].contiguous()
        packed["inputs"][TEACHER_POINTS] = points[others, :-1].contiguous()
        return packed


def _marked(points: np.ndarray, composed: Composed | None) -> np.ndarray:
    """Rows of both clouds (N + Q, C + 1), the mark last."""
    count = len(points)
    added = 0 if composed is None else len(composed.pasted)
    rows = np.zeros((count + added, points.shape[1] + 1), dtype=np.float32)
    rows[:count, :-1] = points
    if composed is not None:
        rows[:count, -1] = np.where(composed.removed, STUDENT, BOTH)
        rows[count:, :-1] = composed.pasted
        rows[count:, -1] = TEACHER
    return rows


def _like(points: Any, rows: np.ndarray) -> Any:
    """mmdet3d's points of the same kind."""
    return type(points)(
        torch.from_numpy(rows),
        points_dim=rows.shape[1],
        attribute_dims=points.attribute_dims,
    )
