# SPDX-License-Identifier: Apache-2.0
"""Every config that distils a detector builds; those of the embedded world get a gradient."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidistill.distill.audit import audit
from lidistill.distill.distiller import Distiller
from lidistill.engine.config import load_config
from lidistill.registry import MODELS
from tests.ops import detector_cases

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [
    path
    for name in ("pointdistiller", "feature_kd")
    for path in (ROOT / "configs" / name).iterdir()
    if path.suffix == ".py"
]


def build(path: Path) -> Distiller:
    """The config's model with random teachers."""
    model = load_config(path).model
    for teacher in [model["teacher"]] if "teacher" in model else model["teachers"].values():
        teacher["checkpoint"] = None
    return MODELS.build(model).train()


@pytest.mark.parametrize(
    "path", sorted(CONFIGS), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_config(path):
    method = build(path)
    (teacher,) = method.teachers.values()
    sizes = [sum(p.numel() for p in m.parameters()) for m in (method.student, teacher.model)]
    assert sizes[0] < sizes[1] / 2.5
    if not path.stem.endswith("world"):
        return  # the paper's sizes take half a minute a step
    batch = detector_cases.make_batch("centerpoint" if "centerpoint" in path.stem else "kitti")
    if "centerpoint" in path.stem:
        batch["inputs"]["points"] = [points[:, :4] for points in batch["inputs"]["points"]]
    report = audit(method, batch)
    assert all(norms["student"] > 0 for norms in report.gradient_norms.values())
