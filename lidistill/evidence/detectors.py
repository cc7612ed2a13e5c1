# SPDX-License-Identifier: Apache-2.0
"""Lines that the tables of compact detectors share: teacher, student alone, student taught."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lidistill.engine.configs.read import load_config
from lidistill.evaluation.results import summarise
from lidistill.evidence.record import MORE_STEPS, RECORDS, load_evidence
from lidistill.evidence.table import CONFIG, ROW, Line
from lidistill.evidence.worlds import KITTI, NUSCENES, World
from lidistill.io import DataError

AP = "3D AP R40 moderate, mean over three classes, in percent"
MAP = "mAP of nuScenes' detection benchmark"
TEACHER, STUDENT = "teacher", "student"


@dataclass(frozen=True)
class Detector:
    """One detector of a table, by its configs.

    Attributes:
        teacher: config of the detector at full width.
        graphs: config of its student under PointDistiller.
        zoo: config of its student under one objective, with all of them in ``zoo``.
        world: it is trained on.
        metric: in words.
        maps: config with the graphs on BEV maps, where ``graphs`` has them on pillars.
    """

    teacher: str
    graphs: str
    zoo: str
    world: World
    metric: str
    maps: str = ""

    def big(self, **changes: Any) -> Line:
        """The detector at full width, which the students of the same seed learn from."""
        return dataclasses.replace(Line(TEACHER, self.teacher), **changes)

    def alone(self, steps: float = 1.0, **changes: Any) -> Line:
        """The student without a teacher; with more steps a control of the others."""
        name = STUDENT if steps == 1 else f"{STUDENT}, {steps:g} times as long"
        twin, note = (None, "") if steps == 1 else (STUDENT, MORE_STEPS)
        line = Line(name, self.graphs, {"model": f"{CONFIG}model.student"}, twin, steps, note=note)
        return dataclasses.replace(line, **changes)

    def point_distiller(
        self,
        name: str = "PointDistiller",
        more: Mapping[str, Any] | None = None,
        maps: bool = False,
        **changes: Any,
    ) -> Line:
        """The student under PointDistiller, with changes of its config."""
        changed = {**(more or {}), "model.teacher.checkpoint": f"{ROW}{TEACHER}"}
        config = self.maps if maps and self.maps else self.graphs
        return dataclasses.replace(Line(f"{STUDENT} + {name}", config, changed, STUDENT), **changes)

    def objective(self, name: str, **changes: Any) -> Line:
        """The student under one objective of the zoo."""
        changed = {
            "model.terms": f"{CONFIG}zoo.{name}",
            "model.teachers.teacher.checkpoint": f"{ROW}{TEACHER}",
        }
        return dataclasses.replace(
            Line(f"{STUDENT} + {name}", self.zoo, changed, STUDENT), **changes
        )

    def objectives(self) -> list[str]:
        """Names of the zoo's objectives."""
        return list(load_config(self.zoo)["zoo"])


POINTPILLARS = Detector(
    "configs/detection/pointpillars_world.py",
    "configs/pointdistiller/pointpillars_world.py",
    "configs/feature_kd/zoo_pointpillars_world.py",
    KITTI,
    AP,
    maps="configs/pointdistiller/pointpillars_bev_world.py",
)
SECOND = Detector(
    "configs/detection/second_world.py",
    "configs/pointdistiller/second_world.py",
    "configs/feature_kd/zoo_second_world.py",
    KITTI,
    AP,
)
CENTERPOINT = Detector(
    "configs/detection/centerpoint_pillar_world.py",
    "configs/pointdistiller/centerpoint_pillar_world.py",
    "configs/feature_kd/zoo_centerpoint_pillar_world.py",
    NUSCENES,
    MAP,
)
SMALL_POINTPILLARS = Detector(
    "configs/evidence/pointpillars.py",
    "configs/evidence/pointpillars_graphs.py",
    "configs/evidence/pointpillars_zoo.py",
    KITTI,
    "3D AP R40 moderate of cars, in percent",
)
SMALL_CENTERPOINT = Detector(
    "configs/evidence/centerpoint.py",
    "configs/evidence/centerpoint_graphs.py",
    "configs/evidence/centerpoint_zoo.py",
    NUSCENES,
    "mean AP of nuScenes' detection benchmark over three classes",
)


def best_objectives(record: str, count: int) -> list[str]:
    """The objectives with the largest gain in a record of the zoo, best first.

    Raises:
        DataError: there is no record yet; the message names the command that makes it.
    """
    path = RECORDS / f"{record}.json"
    if not path.is_file():
        raise DataError(
            "the objectives of the zoo have not been compared yet",
            path=path,
            fix=f"run `lidistill evidence {record}` first",
        )
    rows = load_evidence(path).rows
    gains = {
        row.name.rpartition(" + ")[2]: summarise(row, rows).difference for row in rows if row.twin
    }
    return sorted(gains, key=lambda name: -gains[name])[:count]


def graph_choices(graphs: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """PointDistiller's choices, one changed at a time: name -> changes of a config.

    Args:
        graphs: name of each graph of the config -> its places. The release does not weigh places
            by importance on BEV maps: its softmax there is over one entry.
    """

    def choice(
        weight: float = 1.0, reweight: bool = True, places: int = 1, side: str = "frozen"
    ) -> dict[str, Any]:
        return {
            "model.weights": dict.fromkeys(graphs, weight),
            "model.reweight": reweight,
            "model.teacher_side": side,
            **{f"model.graphs.{name}.queries": count * places for name, count in graphs.items()},
        }

    return {
        "PointDistiller": choice(),
        "term times 4": choice(4.0),
        "term times 16": choice(16.0),
        "all places alike": choice(reweight=False),
        "all alike, term times 4": choice(4.0, reweight=False),
        "all alike, term times 16": choice(16.0, reweight=False),
        "all alike, places times 4": choice(reweight=False, places=4),
        "all alike, teacher's layer trained": choice(reweight=False, side="trained"),
    }


def students(lines: Sequence[Line], **changes: Any) -> list[Line]:
    """The same lines with other steps, iterations or curves."""
    return [dataclasses.replace(line, **changes) for line in lines]
