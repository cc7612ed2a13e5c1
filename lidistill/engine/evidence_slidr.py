# SPDX-License-Identifier: Apache-2.0
"""The evidence table of SLidR on the embedded world: controls, and teachers that must differ."""

from __future__ import annotations

from pathlib import Path

from lidistill.engine.probe_rows import DATASET, METRIC, ProbeRows, controls
from lidistill.evaluation.evidence_run import EvidencePlan


def make_plan(work_dir: Path) -> EvidencePlan:
    """Rows of the table.

    Args:
        work_dir: checkpoints go into ``<work_dir>/runs``.
    """
    rows = ProbeRows(work_dir / "runs")
    random, raw_inputs = controls()
    return EvidencePlan(
        method="slidr",
        dataset=DATASET,
        metric=METRIC,
        rows=[
            random,
            rows.pretrained(
                "SLidR",
                "pretrain",
                note="image teacher trained on the world's images without labels",
            ),
            rows.pretrained(
                "permuted regions",
                "permuted",
                note="negative control: image features permuted over the regions of the batch",
            ),
            rows.pretrained(
                "noise targets",
                "noise",
                note="control of the control: random directions in place of image features",
            ),
            raw_inputs,
            rows.pretrained(
                "SLidR from plain colour",
                "from_colour",
                teacher=None,
                note="gate: local mean colour in place of an image network",
            ),
            rows.pretrained(
                "SLidR from a labelled teacher",
                "from_labels",
                teacher="labelled_teacher",
                note="upper reference: the same image network, trained with labels",
            ),
        ],
    )
