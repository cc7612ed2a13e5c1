# SPDX-License-Identifier: Apache-2.0
"""Teacher: a frozen model outside the student's module tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lidistill.distill.caches.images import TeacherCache
from lidistill.distill.calls import call_model
from lidistill.distill.taps import Tap, TapSet
from lidistill.registry import MODELS

if TYPE_CHECKING:
    from lidistill.distill.caches.detections import ReplayCache

RANDOM = "random"


class Teacher:
    """A frozen model, its taps and the way it is called.

    A Teacher is deliberately no ``nn.Module``: ``state_dict``, the optimizer, EMA, DDP and the
    parameter count of the Distiller see the student and the connectors only. The Distiller moves it
    between devices. It is always in eval mode, without gradients.

    Attributes:
        untrained: it was built from a config that says nothing about its weights.
        follows_student: its weights follow the student's between steps; set by
            :class:`lidistill.hooks.ema_teacher.EMATeacherHook`.

    Args:
        model: module, or config of one.
        taps: name -> module path (see :class:`lidistill.distill.taps.Tap`).
        inputs: batch fields for a plain module; None for an mmengine model.
        checkpoint: local file with the teacher's weights; None keeps the model as built;
            ``"random"`` too, and says that it is meant.
        autocast: ``"bfloat16"`` or ``"float16"`` to run the teacher in that type; None for float32.
        cache: a :class:`lidistill.distill.caches.images.TeacherCache` of its maps or a detector's
            :class:`lidistill.distill.caches.detections.ReplayCache`, or their arguments with
            ``type``, which may be left out for the first.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: no tensor of the checkpoint fits the model, or only some do.
    """

    def __init__(
        self,
        model: nn.Module | dict,
        taps: Mapping[str, str | Tap],
        inputs: Sequence[str] | None = None,
        checkpoint: str | None = None,
        autocast: str | None = None,
        cache: TeacherCache | ReplayCache | Mapping[str, Any] | None = None,
    ) -> None:
        self.model: nn.Module = MODELS.build(model) if isinstance(model, dict) else model
        self.taps = TapSet(self.model, taps)
        self.inputs = inputs
        self.autocast = autocast
        self.checkpoint = checkpoint
        self.follows_student = False
        self.cache = _built(cache) if isinstance(cache, Mapping) else cache
        if checkpoint not in (None, RANDOM):
            from lidistill.distill.weights import load_weights

            load_weights(self.model, checkpoint)
        has_weights = next(self.model.parameters(), None) is not None
        known = checkpoint is not None or bool(getattr(self.model, "loaded", ""))
        self.untrained = isinstance(model, dict) and has_weights and not known
        self.freeze()

    def freeze(self) -> None:
        """Eval mode, no gradients."""
        self.model.eval()
        self.model.requires_grad_(False)

    def __call__(self, batch: Any) -> Any:
        """Tapped outputs on a raw batch, from the cache where there is one."""
        return self.run(batch) if self.cache is None else self.cache.outputs(self, batch)

    def run(self, batch: Any) -> Any:
        """Tapped outputs by a forward pass, which stops after the last tap."""
        device = next(self.model.parameters(), torch.zeros(0)).device
        precision = (
            torch.autocast(device.type, getattr(torch, self.autocast))
            if self.autocast
            else torch.autocast(device.type, enabled=False)
            if device.type in ("cpu", "cuda")
            else nullcontext()
        )
        with (
            torch.no_grad(),
            precision,
            self.taps.capture(self.model, stop_early=True) as outputs,
        ):
            # not "tensor": mmdet3d's two-stage and multi-modal detectors leave that mode empty
            call_model(self.model, batch, self.inputs, mode="predict", training=False)
        return outputs

    def apply_to_tensors(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Apply ``function`` to every parameter and buffer, as ``nn.Module._apply`` does."""
        self.model._apply(function)

    def __deepcopy__(self, _memo: dict) -> Teacher:
        """A copied Distiller (EMA) shares its teachers."""
        return self


def _built(cache: Mapping[str, Any]) -> TeacherCache | ReplayCache:
    arguments = dict(cache)
    kind = arguments.pop("type", TeacherCache)
    built: TeacherCache | ReplayCache = kind(**arguments)
    return built
