# SPDX-License-Identifier: Apache-2.0
"""Carry a pretrained student into a part of a larger model, with a report of what matched."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from lidistill.distill.weights import read_state_dict


@dataclass
class PartsReport:
    """What became of the tensors.

    Attributes:
        path: the checkpoint.
        taken: name in the model -> name in the file.
        lacking: names in the model, within the wanted parts, that the file has no tensor for.
        unfit: (name in the model, its shape, shape in the file).
        left: names in the file that no part wanted.
    """

    path: Path
    taken: dict[str, str] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)
    unfit: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.taken)} tensors taken, {len(self.left)} left"]
        lines += [f"  {name} <- {source}" for name, source in self.taken.items()]
        lines += [f"  {name}: not in the file, stays as it is" for name in self.lacking]
        lines += [
            f"  {name} {own}: of shape {found} in the file" for name, own, found in self.unfit
        ]
        lines += [f"  left: {name}" for name in self.left]
        return "\n".join(lines)


def load_parts(model: nn.Module, path: str | Path, parts: Mapping[str, str]) -> PartsReport:
    """Copy tensors of a checkpoint into parts of a model; all of a part must fit.

    Args:
        model: receives the tensors.
        path: a training checkpoint or an exported file.
        parts: module of the model -> prefix of its tensors in the file, for example
            ``{"pts_middle_encoder": "student.encoder.encoder"}``; empty for a file that holds the
            part alone.

    Raises:
        ValueError: the model has no such module, or a part does not fit; the message counts what
            matched and nothing is copied. Or a part has a box head, and the file is of mmdet3d
            before 1.0.
    """
    own = model.state_dict()
    inside = tuple(f"{part}." for part in parts)
    state = read_state_dict(path, [name for name in own if name.startswith(inside)])
    report = PartsReport(Path(path))
    for part, prefix in parts.items():
        source = f"{prefix}." if prefix else ""
        before = f"{part}."
        names = [name for name in own if name.startswith(before)]
        if not names:
            known = [name for name, _ in model.named_modules() if name]
            near = difflib.get_close_matches(part, known, n=5, cutoff=0.3) or known[:5]
            raise ValueError(
                f"{type(model).__name__} has no part {part!r} with tensors; nearest names: "
                f"{', '.join(near)}"
            )
        for name in names:
            _match(report, own, state, name, f"{source}{name.removeprefix(before)}")
    used = set(report.taken.values())
    report.left = [name for name in state if name not in used]
    if report.lacking or report.unfit:
        wanted = len(report.taken) + len(report.lacking) + len(report.unfit)
        odd = [f"{name} {list(a)} for {list(b)}" for name, a, b in report.unfit] + report.lacking
        raise ValueError(
            f"{path} does not fit {', '.join(parts)} of {type(model).__name__}: "
            f"{len(report.taken)} of {wanted} tensors matched by name and shape. "
            f"Missing or unequal: {', '.join(odd[:6])}{' ...' if len(odd) > 6 else ''}. "
            f"The file holds: {', '.join(list(state)[:6])}"
        )
    with torch.no_grad():
        for name, source in report.taken.items():
            own[name].copy_(state[source])
    return report


def _match(
    report: PartsReport,
    own: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    name: str,
    source: str,
) -> None:
    if source not in state:
        report.lacking.append(name)
    elif state[source].shape != own[name].shape:
        report.unfit.append((name, tuple(own[name].shape), tuple(state[source].shape)))
    else:
        report.taken[name] = source
