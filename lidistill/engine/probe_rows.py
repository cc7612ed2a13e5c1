# SPDX-License-Identifier: Apache-2.0
"""Rows of evidence tables: pretrain a stage on the embedded world, then probe it linearly."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.engine import slidr_runs
from lidistill.engine.loops.probing import iou_by_class
from lidistill.engine.train import train
from lidistill.evaluation.evidence_run import Row
from lidistill.evaluation.probes.result import ProbeResult

STAGED = Path("configs/slidr/evidence.py")
PRETRAIN = Path("configs/slidr/demo_pretrain.py")
WORLD = Path("data/evidence_world")
WORLD_SEED = 0
"""Settings were chosen on the world of seed 1; this one is only reported."""
DATASET = f"embedded world bench, seed {WORLD_SEED}, nuScenes layout"
METRIC = "linear-probe mIoU"
RANDOM = "random weights"


@functools.cache
def world_root() -> Path:
    """The world of all evidence, made when it is missing."""
    return slidr_runs.prepare_world(WORLD, "bench", WORLD_SEED).root


@dataclass(frozen=True)
class ProbeRows:
    """Makes rows that share one folder of runs: what one table trained, another takes over.

    Attributes:
        runs: checkpoints, ``runs/seed_<seed>/<stage>``.
        staged: config that has the stages.
    """

    runs: Path
    staged: Path = STAGED

    def checkpoint(self, stage: str, teacher: str | None, seed: int) -> Path:
        """Final checkpoint of a stage, after that of its teacher."""
        stages = [stage] if teacher is None else [teacher, stage]
        return train(
            self.staged,
            self.runs / f"seed_{seed}",
            data_root=str(world_root()),
            seed=seed,
            only=stages,
            quiet=True,
        )

    def pretrained(
        self, name: str, stage: str, teacher: str | None = "image_teacher", note: str = ""
    ) -> Row:
        """A pretrained student, beside random weights."""
        return Row(
            name,
            lambda seed: probe(self.checkpoint(stage, teacher, seed), seed),
            twin=RANDOM,
            config=f"{self.staged}, stage {stage}",
            note=note,
        )


def controls() -> tuple[Row, Row]:
    """Random weights, and an MLP on the raw inputs."""
    return (
        Row(RANDOM, lambda seed: probe(None, seed), config=str(PRETRAIN)),
        Row(
            "MLP on raw inputs",
            lambda seed: outcome(slidr_runs.probe_inputs(PRETRAIN, world_root(), seed)),
            twin=RANDOM,
            config=str(PRETRAIN),
            note="control: intensity and height of each point, no network",
        ),
    )


def probe(checkpoint: Path | None, seed: int) -> dict[str, Any]:
    """Linear probe of a checkpoint, None for random weights of ``seed``."""
    return outcome(slidr_runs.probe_checkpoint(PRETRAIN, world_root(), checkpoint, seed))


def outcome(result: ProbeResult) -> dict[str, Any]:
    """What the evidence driver stores of a probe."""
    return {
        "value": result.miou,
        "n": result.val_points,
        "per_class": iou_by_class(result),
        "protocol": result.protocol,
    }
