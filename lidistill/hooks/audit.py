# SPDX-License-Identifier: Apache-2.0
"""Audit of the first batch and guard of every checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from lidistill.distill.audit import AuditReport, EmptyTermError, audit, check_teachers
from lidistill.distill.detectors.heads import check_classes, check_labels
from lidistill.distill.distiller import Distiller
from lidistill.registry import HOOKS

PATIENCE = 20
"""Batches in which each term must have something to compare once."""


@HOOKS.register_module()
class AuditHook(Hook):
    """Audit each loss term on the first batch of a run; refuse checkpoints that hold a teacher.

    See :func:`lidistill.distill.audit.audit`. The report goes to the log. The audit costs one
    forward and one backward pass per term, once, and changes neither weights, buffers nor random
    state. Where a term has nothing to compare in the first batch (frames without objects), the next
    ones are looked at, up to :data:`PATIENCE`. Of several processes one must have had something:
    all look at as many batches, as terms over all ranks wait for each other.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._done, self._looked = False, 0

    def before_train(self, runner: Any) -> None:
        """Labels of the data, of teacher and of student must count the same classes."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        known = getattr(runner.train_dataloader.dataset, "metainfo", None) or {}
        if known.get("classes"):
            check_labels(model, known["classes"])
            if isinstance(model, Distiller):
                check_classes(model, known["classes"])

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Audit until every term had something to compare; a resumed run was when it began.

        Raises:
            AuditError: see there; a term without anything in :data:`PATIENCE` batches.
        """
        if self._done or (runner.iter > 0 and not self._looked):
            return
        self._done, self._looked = True, self._looked + 1
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(model, Distiller):
            return
        with runner.optim_wrapper.optim_context(model):
            data = model.data_preprocessor(data_batch, True)
            inputs, samples = data["inputs"], data.get("data_samples")
            batch = inputs if samples is None else {"inputs": inputs, "data_samples": samples}
            report, empty = _looked_at(model, batch)
        if empty is None:
            runner.logger.info(str(report))
        if _on_any_rank(empty is None):
            return
        if self._looked == PATIENCE and empty is not None:
            raise empty
        self._done = False
        runner.logger.warning(f"batch {self._looked} of {PATIENCE} to look at: {empty}")

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """The student and the connectors are saved, nothing else."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(model, Distiller):
            return
        check_teachers(model)
        foreign = [
            key
            for key in checkpoint["state_dict"]
            if not key.startswith(("student.", "connectors."))
        ]
        if foreign:
            raise ValueError(
                f"checkpoints hold student and connectors only; this one has {foreign[:5]}"
            )


def _looked_at(model: Distiller, batch: Any) -> tuple[AuditReport | None, EmptyTermError | None]:
    """The audit of one batch, or the term that had nothing in it."""
    try:
        return audit(model, batch), None
    except EmptyTermError as error:
        return None, error


def _on_any_rank(found: bool) -> bool:
    """Whether it is so on a rank; all of them ask."""
    flag = torch.tensor(float(found))
    all_reduce(flag, "max")
    return bool(flag)
