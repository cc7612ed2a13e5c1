# SPDX-License-Identifier: Apache-2.0
"""Taps: named outputs of any module of any model, taken with forward hooks.

Foreign detectors are never subclassed; a wrong path fails when the model is built, not an hour
later.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, make_dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn

from lidistill.distill.outputs import wrap_output

_SPEC = re.compile(r"^(?P<path>[^\[\]]*)(\[(?P<index>-?\d+)\])?$")


@dataclass(frozen=True)
class Tap:
    """Where to take a feature.

    Attributes:
        path: dotted module path inside the model; ``""`` is the model itself.
        index: item of a tuple or list output (``"pts_neck[0]"`` in short form), else None.
        grid: BEVGrid attached to a 4-D output.
        clone: copy the output at once, where the model later changes it in place
            (mmdet3d's ``clip_sigmoid`` turns logits into probabilities this way).
    """

    path: str
    index: int | None = None
    grid: Any = None
    clone: bool = False

    def __str__(self) -> str:
        """As a config writes it: what of which module is read, and how."""
        item = "" if self.index is None else f"[{self.index}]"
        return f"{self.path}{item}{' cloned' if self.clone else ''}"

    @classmethod
    def parse(cls, spec: str | Tap) -> Tap:
        """Read ``"path"`` or ``"path[index]"``."""
        if isinstance(spec, Tap):
            return spec
        match = _SPEC.match(spec)
        if match is None:
            raise ValueError(f"tap {spec!r} is not of the form 'module.path' or 'module.path[0]'")
        index = match["index"]
        return cls(match["path"], None if index is None else int(index))

    def read(self, output: Any, inputs: Sequence[Any] = (), voxel_shape: Sequence[int] = ()) -> Any:
        """Pick, copy and wrap one module output; see :func:`wrap_output` for the rest."""
        if self.index is not None:
            output = output[self.index]
        found = wrap_output(output, self.grid, inputs, voxel_shape)
        features = features_of(found)
        if not self.clone or features is None:
            return found
        return features.clone() if found is features else replace(found, features=features.clone())


def features_of(output: Any) -> torch.Tensor | None:
    """The tensor of a wrapped output; None of what is passed on as it is (lists, dictionaries)."""
    features = getattr(output, "features", output)
    return features if isinstance(features, torch.Tensor) else None


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The module at ``path``; an unknown path is an error that lists the nearest names.

    Raises:
        ValueError: there is no such module.
    """
    modules = dict(model.named_modules())
    if path in modules:
        return modules[path]
    known = [name for name in modules if name]
    near = difflib.get_close_matches(path, known, n=5, cutoff=0.3) or known[:5]
    raise ValueError(
        f"tap {path!r} names no module of {type(model).__name__}; nearest names: {', '.join(near)}"
    )


class _Complete(Exception):  # noqa: N818  (a signal, not an error)
    """Every tap has been read: the rest of the forward pass is not needed."""


class TapSet:
    """The taps of one model.

    Args:
        model: any module.
        taps: name -> ``"module.path"``, ``"module.path[0]"`` or :class:`Tap`.

    Raises:
        ValueError: a path names no module.
    """

    def __init__(self, model: nn.Module, taps: Mapping[str, str | Tap]) -> None:
        self.taps = {name: Tap.parse(spec) for name, spec in taps.items()}
        for tap in self.taps.values():
            find_module(model, tap.path)
        self.outputs_type = make_dataclass(
            f"{type(model).__name__}Outputs", [(name, Any, None) for name in self.taps]
        )

    @contextmanager
    def capture(self, model: nn.Module, stop_early: bool = False) -> Iterator[Any]:
        """Run ``model`` inside this context; afterwards the yielded dataclass holds the outputs.

        Args:
            model: the model the taps were made for (or a copy of it).
            stop_early: leave the forward pass once every tap has been read (frozen teachers).

        Raises:
            RuntimeError: a tapped module did not run, or ran again: which call is meant? Or a later
                module wrote into its output, or it ran without gradient where others have one.
        """
        outputs, with_gradient = self.outputs_type(), torch.is_grad_enabled()
        missing = set(self.taps)
        versions: dict[str, int] = {}
        blind: set[str] = set()
        layer = getattr(getattr(model, "data_preprocessor", None), "voxel_layer", None)
        voxel_shape = tuple(getattr(layer, "grid_shape", ()))[::-1]  # mmdet3d counts (x, y, z)

        def hook_for(name: str, tap: Tap) -> Any:
            def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
                if name not in missing:
                    raise RuntimeError(
                        f"tap {name!r} of {type(model).__name__}: {tap.path!r} runs several times "
                        "in one forward pass (a head on every level, a network on every moment), "
                        "and its outputs are not one; tap a module that runs once"
                    )
                setattr(outputs, name, tap.read(output, inputs, voxel_shape))
                missing.discard(name)
                if with_gradient and not torch.is_grad_enabled():
                    blind.add(name)
                features = features_of(getattr(outputs, name))
                if features is not None and not features.is_inference():
                    versions[name] = features._version
                if stop_early and not missing:
                    raise _Complete

            return hook

        handles = [
            find_module(model, tap.path).register_forward_hook(hook_for(name, tap))
            for name, tap in self.taps.items()
        ]
        try:
            yield outputs
        except _Complete:
            pass
        finally:
            for handle in handles:
                handle.remove()
        if missing:
            raise RuntimeError(
                f"taps {sorted(missing)} of {type(model).__name__} were not reached by its forward "
                "pass; tap a module that runs in this mode"
            )
        self._check_read(type(model).__name__, outputs, versions, blind)

    def _check_read(
        self, owner: str, outputs: Any, versions: Mapping[str, int], blind: set[str]
    ) -> None:
        """Refuse outputs that were written into since they were read, or that teach nothing."""
        for name, version in versions.items():
            features = features_of(getattr(outputs, name))
            if name in blind and not getattr(features, "requires_grad", True):
                raise RuntimeError(
                    f"tap {name!r} of {owner}: {self.taps[name].path!r} runs "
                    "without gradient, within an activation checkpoint (with_cp=True) or no_grad: "
                    "what is compared there teaches nothing; tap the whole block, or set "
                    "with_cp=False"
                )
            if getattr(features, "_version", version) != version:
                raise RuntimeError(
                    f"tap {name!r} of {owner}: a later module wrote into what "
                    f"{self.taps[name].path!r} gave (ReLU(inplace=True), mmdet3d's clip_sigmoid), "
                    "and a teacher that stops there does not; take a copy, "
                    f"Tap({self.taps[name].path!r}, clone=True), or tap the later module"
                )


class TappedModel(Protocol):
    """What a cache of outputs needs of a teacher: its network, its taps and a forward pass."""

    model: nn.Module
    taps: TapSet
    inputs: Sequence[str] | None
    autocast: str | None

    def run(self, batch: Any) -> Any:
        """Tapped outputs on a raw batch."""
