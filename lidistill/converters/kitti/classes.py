# SPDX-License-Identifier: Apache-2.0
"""Names of classes in a data set of KITTI's layout, and the labels that they get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lidistill.converters.infos import KITTI_CLASSES
from lidistill.converters.kitti.files import DONT_CARE


@dataclass(frozen=True)
class ClassTable:
    """Which classes are taught, and the index of each.

    KITTI's eight keep their places, so that mmdet3d's KittiDataset reads them right; own classes
    come after. A class that is not taught has label -1, and keeps its name.

    Attributes:
        taught: Names; KITTI's eight by default.
    """

    taught: tuple[str, ...] = KITTI_CLASSES

    @classmethod
    def of(cls, names: Sequence[str] | None) -> ClassTable:
        """Returns the table of the names given with ``--classes``; of KITTI's eight without.

        Raises:
            ValueError: A name is empty, of two words, DontCare, or there twice.
        """
        if names is None:
            return cls()
        kitti = {name.lower(): name for name in (*KITTI_CLASSES, DONT_CARE)}
        spelled = [kitti.get(name.lower(), name) for name in names]
        unfit = [name for name in spelled if len(name.split()) != 1 or name == DONT_CARE]
        if unfit or not spelled or len({name.lower() for name in spelled}) < len(spelled):
            raise ValueError(
                f"classes: expected names of one word each, DontCare not among them, none twice, "
                f"got {list(names)}."
            )
        return cls(tuple(spelled))

    @cached_property
    def categories(self) -> dict[str, int]:
        """Name -> index: KITTI's eight and the own ones; DontCare -> -1."""
        own = [name for name in self.taught if name not in KITTI_CLASSES]
        return {name: i for i, name in enumerate([*KITTI_CLASSES, *own])} | {DONT_CARE: -1}

    @cached_property
    def _spelling(self) -> dict[str, str]:
        return {name.lower(): name for name in self.categories}

    def spelled(self, name: str) -> str:
        """Returns a name that differs from a known one in case only as that one."""
        return self._spelling.get(name.lower(), name)

    def label(self, name: str) -> int:
        """Returns the label of a class as :meth:`spelled` gives it; -1: not taught."""
        return self.categories[name] if name in self.taught else -1
