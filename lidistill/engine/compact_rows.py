# SPDX-License-Identifier: Apache-2.0
"""Rows of evidence tables of compact detectors: teacher, student alone, student distilled."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill import compat
from lidistill.engine import slidr_runs
from lidistill.engine.config import load_config
from lidistill.engine.detection import Scores, evaluate_detector
from lidistill.engine.overrides import apply_overrides
from lidistill.engine.test import leave_teachers_out, teachers_of
from lidistill.engine.train import console_log, train_one
from lidistill.evaluation.evidence_run import Row
from lidistill.evaluation.kitti.ap import DIFFICULTIES, KittiScores
from lidistill.io import exclusive, read_json

WORLD = Path("data/evidence_world")
WORLD_SEED = 0
TUNING_WORLD = Path("data/tuning_world")
TUNING_SEED = 7
"""Objectives are chosen on the world of this seed, and reported on that of the other."""
LAYOUT_METRIC = {
    "nuscenes": "mAP of nuScenes' detection benchmark",
    "kitti": "3D AP R40 moderate, mean over three classes, in percent",
}
STUDENT = "student"
TEACHER = "teacher"


@dataclass(frozen=True)
class Detector:
    """One detector of a table, by its configs.

    Attributes:
        teacher: config of the detector at full width.
        graphs: config of its student under PointDistiller.
        zoo: config of its student under one objective, with all of them in ``zoo``.
        layout: of the world it is trained on: ``nuscenes`` or ``kitti``.
        controls: how many times as long the plain student trains beside the others. One is the
            control of equal compute: what the dearest distilled step takes in processor time.
        maps: config with the graphs on BEV maps, where ``graphs`` has them on pillars.
    """

    teacher: Path
    graphs: Path
    zoo: Path
    layout: str
    controls: tuple[float, ...]
    maps: Path | None = None


DETECTORS = {
    "pointpillars": Detector(
        Path("configs/detection/pointpillars_world.py"),
        Path("configs/pointdistiller/pointpillars_world.py"),
        Path("configs/feature_kd/zoo_pointpillars_world.py"),
        "kitti",
        controls=(1.5, 2.2),
        maps=Path("configs/pointdistiller/pointpillars_bev_world.py"),
    ),
    "second": Detector(
        Path("configs/detection/second_world.py"),
        Path("configs/pointdistiller/second_world.py"),
        Path("configs/feature_kd/zoo_second_world.py"),
        "kitti",
        controls=(1.5, 1.75),
    ),
    "centerpoint": Detector(
        Path("configs/detection/centerpoint_pillar_world.py"),
        Path("configs/pointdistiller/centerpoint_pillar_world.py"),
        Path("configs/feature_kd/zoo_centerpoint_pillar_world.py"),
        "nuscenes",
        controls=(1.5, 1.8),
    ),
}


def world_root(out: Path, seed: int, layout: str) -> Path:
    """Folder of the world's preset ``bench`` in one layout, made and converted when missing."""
    from lidistill.converters.kitti.convert import convert_kitti
    from lidistill.converters.nuscenes.convert import convert_nuscenes
    from lidistill.world import generate

    root = out / layout
    with exclusive(out, "makes a world"):
        generate(out, layout=layout, preset="bench", seed=seed)
        if layout == "kitti":
            convert_kitti(root)
        else:
            convert_nuscenes(root, slidr_runs.version_of(root))
    return root


@dataclass(frozen=True)
class CompactRows:
    """Makes the rows of one detector's table; all share one folder of runs.

    Attributes:
        detector: its configs.
        runs: checkpoints, ``runs/seed_<seed>/<row>``.
        world: folder of the world.
        world_seed: it is made with.
        iters: of students but the controls; None for the configs' own.
        teacher_iters: of teachers; None for the configs' own.
    """

    detector: Detector
    runs: Path
    world: Path = WORLD
    world_seed: int = WORLD_SEED
    iters: int | None = None
    teacher_iters: int | None = None

    @property
    def dataset(self) -> str:
        """In words, for the record."""
        layout = {"nuscenes": "nuScenes", "kitti": "KITTI"}[self.detector.layout]
        return f"embedded world bench, seed {self.world_seed}, {layout} layout"

    def teacher(self) -> Row:
        """The detector at full width, which the students of the same seed learn from."""
        run = self._run(TEACHER, self.teacher_config)
        return Row(TEACHER, run, config=_in_words(self.detector.teacher, self.teacher_iters))

    def student(self, times: float = 1.0) -> Row:
        """The student without a teacher; ``times`` as many iterations for a control."""
        name = STUDENT if times == 1 else f"{STUDENT}, {times:g} times as long"
        note = "control: no teacher, more steps" if times != 1 else ""

        def config(seed: int) -> Any:
            cfg = load_config(self.detector.graphs, data_root=str(self.root()))
            cfg.model = cfg.model.student
            return self._shortened(cfg, seed, times)

        twin = None if times == 1 else STUDENT
        return Row(name, self._run(name, config), twin, self._words("graphs", times), note)

    def point_distiller(self) -> list[Row]:
        """The student under PointDistiller, and with its graphs on maps where there is a config."""
        rows = [self._distilled("PointDistiller", "graphs")]
        if self.detector.maps is not None:
            rows.append(self._distilled("PointDistiller on maps", "maps"))
        return rows

    def graphs(self, name: str, change: Callable[[Any], None]) -> Row:
        """The student under PointDistiller, on maps if it can, its model's config changed."""
        return self._distilled(name, "maps" if self.detector.maps else "graphs", change)

    def zoo(self, name: str) -> Row:
        """The student under one objective of the zoo."""
        return self._distilled(name, "zoo", objective=name)

    def objectives(self) -> list[str]:
        """Names of the zoo's objectives."""
        return list(load_config(self.detector.zoo)["zoo"])

    # -- configs ----------------------------------------------------------------------------------
    def root(self) -> Path:
        """Folder of the data."""
        return world_root(self.world, self.world_seed, self.detector.layout)

    def teacher_config(self, seed: int) -> Any:
        """Config that trains the teacher."""
        cfg = load_config(self.detector.teacher, data_root=str(self.root()))
        apply_overrides(cfg, seed, False, {"iters": self.teacher_iters})
        return cfg

    def _distilled(
        self,
        name: str,
        kind: str,
        change: Callable[[Any], None] | None = None,
        objective: str | None = None,
    ) -> Row:
        def config(seed: int) -> Any:
            cfg = load_config(getattr(self.detector, kind), data_root=str(self.root()))
            if objective is not None:
                cfg.model.terms = cfg["zoo"][objective]
            if change is not None:
                change(cfg.model)
            teacher = train_one(
                self.teacher_config(seed), self._folder(seed, TEACHER), {}, quiet=True
            )
            for entry in teachers_of(cfg.model):
                entry["checkpoint"] = str(teacher)
            return self._shortened(cfg, seed)

        row = f"{STUDENT} + {name}"
        return Row(row, self._run(row, config), STUDENT, self._words(kind))

    def _shortened(self, cfg: Any, seed: int, times: float = 1.0) -> Any:
        iters = round((self.iters or cfg.train_cfg.max_iters) * times)
        apply_overrides(cfg, seed, False, {"iters": iters})
        return cfg

    def _words(self, kind: str, times: float = 1.0) -> str:
        iters = None if self.iters is None else round(self.iters * times)
        return _in_words(getattr(self.detector, kind), iters)

    # -- running ----------------------------------------------------------------------------------
    def _folder(self, seed: int, name: str) -> Path:
        return self.runs / f"seed_{seed}" / name.replace(", ", "_").replace(" ", "_")

    def _run(self, name: str, config: Callable[[int], Any]) -> Callable[[int], dict[str, Any]]:
        def run(seed: int) -> dict[str, Any]:
            compat.apply()
            folder = self._folder(seed, name)
            cfg = config(seed)
            final = train_one(cfg, folder, {}, quiet=True)
            found = outcome(evaluate_detector(cfg, final, folder))
            with console_log(folder):
                cost = cost_of(cfg)
            cost["training_s"] = read_json(folder / "run.json")["process_s"]
            return {**found, "cost": cost}

        return run


def _in_words(config: Path, iters: int | None) -> str:
    return str(config) if iters is None else f"{config}, {iters} iterations"


def outcome(scores: Scores) -> dict[str, Any]:
    """What the evidence driver stores of a detector's scores."""
    if isinstance(scores, KittiScores):
        moderate = DIFFICULTIES.index("moderate")
        value = scores.mean("3d", "R40", "moderate")
        n = sum(objects[moderate] for objects in scores.objects.values())
        per_class = {name: table["3d"]["R40"][moderate] for name, table in scores.ap.items()}
    else:
        value, n, per_class = scores.map, scores.boxes, scores.ap
    return {"value": value, "n": n, "per_class": per_class, "protocol": scores.protocol}


def cost_of(cfg: Any, frames: int = 5) -> dict[str, float]:
    """Parameters, multiply-adds and CPU time of the detector, or the Distiller's student, alone.

    Args:
        cfg: config of its training.
        frames: validation frames; the multiply-adds are their mean, the time their median.

    Returns:
        ``parameters``; ``multiply_adds`` a frame; ``cpu_ms``, the processor's milliseconds a frame
        on one thread of the CPU, voxelization and boxes included.
    """
    import torch
    from mmengine.runner import Runner

    from lidistill.distill.calls import call_model
    from lidistill.distill.cost import counted, parameters
    from lidistill.registry import MODELS

    cfg = copy.deepcopy(cfg)
    leave_teachers_out(cfg)
    model = MODELS.build(cfg.model).eval()
    batches = Runner.build_dataloader(cfg.test_dataloader, seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    adds, times = [], []
    try:
        for _, batch in zip(range(frames + 1), batches, strict=False):
            begin = time.process_time()
            with counted(model) as layers, torch.no_grad():
                call_model(model, batch, None, "predict", training=False)
            times.append(time.process_time() - begin)
            adds.append(sum(layers.values()))
    finally:
        torch.set_num_threads(threads)
    return {
        "parameters": parameters(model),
        "multiply_adds": round(statistics.fmean(adds)),
        "cpu_ms": round(1e3 * statistics.median(times[1:]), 1),
    }
