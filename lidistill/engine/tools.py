# SPDX-License-Identifier: Apache-2.0
"""Stages that train nothing: a config with ``tool`` makes something that later stages name.

``tool = dict(type=function, ...)`` is called as ``function(cfg, folder, ...)`` and returns the path
of what it made, which ``"stage://name"`` stands for in later stages, and facts for ``run.json``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill import provenance
from lidistill.engine.configs.stages import fingerprint, trained_values
from lidistill.hooks.run_folder import (
    clear,
    finished_output,
    note_run,
    note_written,
    read_note,
)

FOLDER = "made"
"""Of what a tool makes, in the folder of its stage."""


def run_tool(
    cfg: Any, work_dir: Path, restart: bool = False, sources: Mapping[str, str] | None = None
) -> Path:
    """Run the tool of a config, or take what it made when it ran before.

    Args:
        cfg: its content; ``tool`` in it.
        work_dir: folder of the stage.
        restart: remove first what it made.
        sources: fingerprints of the stages that it takes checkpoints from, by their names.

    Raises:
        ValueError: ``work_dir`` holds what another config made, or made from other stages.
    """
    key, values = fingerprint(cfg), trained_values(cfg)
    if restart:
        clear(work_dir)
    done = finished_output(work_dir, key, values, sources)
    if done is not None:
        return done
    noted = read_note(work_dir)
    before: dict[str, Any] = {name: noted.get(name, 0.0) for name in ("wall_s", "process_s")}
    before["commit"] = provenance.commits(noted.get("commit", ""), provenance.commit())
    note_run(work_dir, key, values, sources, **before)
    note_written(work_dir, FOLDER)  # before: a killed tool leaves what --restart may remove
    (work_dir / FOLDER).mkdir(exist_ok=True)
    begin, used = time.perf_counter(), time.process_time()

    def spent() -> dict[str, Any]:
        """Seconds and commits of all starts: a tool goes on with what an interrupted one left."""
        return {
            "commit": before["commit"],
            "wall_s": round(before["wall_s"] + time.perf_counter() - begin, 3),
            "process_s": round(before["process_s"] + time.process_time() - used, 3),
        }

    options = dict(cfg.tool)
    try:
        made, facts = options.pop("type")(cfg, work_dir / FOLDER, **options)
    except BaseException:
        note_run(work_dir, key, sources=sources, **spent())
        raise
    name = str(Path(made).relative_to(work_dir))
    note_run(work_dir, key, sources=sources, made=name, facts=facts, **spent())
    return Path(made)
