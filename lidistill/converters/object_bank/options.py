# SPDX-License-Identifier: Apache-2.0
"""How a bank is made; everything here changes its content and goes into its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CAPS = {"car": 2048, "bus": 4096, "truck": 4096, "trailer": 4096, "tram": 4096, "van": 2048}
OTHER_CAP = 512
# may be completed by their mirror image: left and right halves are alike
MIRRORED = ("car", "van", "truck", "bus", "trailer", "construction_vehicle", "tram")


@dataclass(frozen=True)
class BankOptions:
    """Settings of a bank.

    Attributes:
        fuse_static: objects that stand are fused in the world's frame with one median box; others
            always in their own box's frame.
        sweeps: take points from sweeps between annotated frames too.
        ground_margin: metres above a box's bottom that count as ground; 0 takes all.
        refine: register each view to those before it (open3d's ICP), where that helps.
        mirror: add the mirror image of vehicles.
        voxel: metres; of several points of an object in one cell the first is kept; 0 keeps all.
        caps: class (lower case) -> most points of an object; ``""`` stands for the others. None
            sets no cap.
        seed: of the draw where there are more.
    """

    fuse_static: bool = True
    sweeps: bool = True
    ground_margin: float = 0.0
    refine: bool = False
    mirror: bool = False
    voxel: float = 0.05
    caps: Mapping[str, int] | None = field(default_factory=lambda: {**CAPS, "": OTHER_CAP})
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ground_margin < 0 or self.voxel < 0:
            raise ValueError(
                f"expected ground_margin and voxel >= 0 metres, got {self.ground_margin} and "
                f"{self.voxel}"
            )

    @classmethod
    def plain(cls) -> BankOptions:
        """As the authors' default: box frames, annotated frames only, every point kept."""
        return cls(fuse_static=False, sweeps=False, voxel=0.0, caps=None)

    def cap(self, name: str) -> int | None:
        """Most points of an object of a class; None for any number."""
        if self.caps is None:
            return None
        return self.caps.get(name.lower(), self.caps.get(""))

    def recorded(self) -> dict[str, Any]:
        """For the manifest; plain JSON."""
        return {**asdict(self), "caps": None if self.caps is None else dict(self.caps)}
