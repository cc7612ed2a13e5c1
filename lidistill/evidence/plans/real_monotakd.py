# SPDX-License-Identifier: Apache-2.0
"""One camera alone, under CMKD, under MonoTAKD on real cars, as curves over steps."""

import dataclasses

from lidistill.evidence.plans import monotakd
from lidistill.evidence.real import DRIVES
from lidistill.evidence.table import Table

CHAIN = (monotakd.TEACHER, monotakd.ASSISTANT, monotakd.STUDENT)
METHODS = tuple(f"{monotakd.STUDENT} + {name}" for name in ("CMKD", "MonoTAKD"))


def table() -> Table:
    """The world's table on real drives, without its ablation."""
    world = monotakd.table()
    lines = [line for line in world.lines if line.name in (*CHAIN, *METHODS)]
    return dataclasses.replace(world, method="real_monotakd", world=DRIVES, lines=lines)
