# SPDX-License-Identifier: Apache-2.0
"""The embedded driving world: a procedural scene, cast and written as nuScenes and as KITTI."""

from __future__ import annotations

from pathlib import Path


def generate(
    out: str | Path, layout: str = "nuscenes", preset: str = "small", seed: int = 0, jobs: int = 2
) -> None:
    """Generate a world; see :func:`lidistill.world.build.generate` (numba is imported only now)."""
    from lidistill.world.build import generate as run

    run(out, layout, preset, seed, jobs)
