# SPDX-License-Identifier: Apache-2.0
"""The knowledge-distillation zoo on any detector, assembled in the config.

FitNets (https://arxiv.org/abs/1412.6550), AT (1612.03928), RKD (1904.05068), SP (1907.09682), NST
(1707.01219), PKT (1803.10837), CWD (2011.13256), PKD (2207.02039), VID (1904.05835), MGD
(2205.01529), V_kD (2403.06213); of logits Hinton's (1503.02531), DKD (2203.08679), DIST
(2205.10536) and SparseKD's (2205.15156); each loss names its paper in ``lidistill/losses``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from lidistill.distill.connectors import check_widths
from lidistill.distill.detectors.choices import Choice, Scene
from lidistill.distill.detectors.heads import check_heads, in_head
from lidistill.distill.detectors.labels import TeacherBoxes, add_teacher_boxes, boxes_of
from lidistill.distill.detectors.method import TapPair, as_tap, detector_pair
from lidistill.distill.detectors.places import Places, grid_of, match_places, point_range
from lidistill.distill.distiller import Distiller
from lidistill.distill.outputs import FeatureMap
from lidistill.distill.schedules import Schedule, as_schedule
from lidistill.distill.taps import Tap
from lidistill.losses import relation, response
from lidistill.losses.contrastive import zero_loss
from lidistill.registry import MODELS

PREDICTED = "_predicted"
PLACED = "_predicted_places"
HEAT = "_heat"
ANY_WIDTH = (
    "attention_transfer",
    "gram_relation",
    *(n for n in vars(relation) if not n.startswith("_")),
)


@dataclass(frozen=True)
class Term:
    """One loss term.

    Attributes:
        loss: function of (student rows, teacher rows, weights) from ``lidistill.losses``, or
            ``dict(type=function, ...)`` with further arguments.
        tap: module path inside the student.
        teacher_tap: module path inside the teacher; None = the student's.
        teacher: the teacher's name.
        places: which places count, one after the other; see
            :mod:`lidistill.distill.detectors.choices`.
        connector: module, or config of one, from the student's width to the teacher's. One with
            2D convolutions is applied to the map, any other to the chosen rows.
        weight: number or schedule.
    """

    loss: Callable[..., Tensor] | dict
    tap: str | Tap | dict
    teacher_tap: str | Tap | dict | None = None
    teacher: str = "teacher"
    places: Sequence[Choice | dict] = ()
    connector: nn.Module | dict | None = None
    weight: float | Schedule | dict = 1.0


@MODELS.register_module()
class FeatureKD(Distiller):
    """Any number of terms, each a loss between one tap of the student and one of a teacher.

    Args:
        student: detector, or config of one; it keeps its own data preprocessor and losses.
        teachers: name -> ``dict(model=..., checkpoint=...)``.
        terms: name -> :class:`Term` or its fields.
        labels: :class:`lidistill.distill.detectors.labels.TeacherBoxes` or its fields: a teacher's
            boxes that the student is trained on beside the ground truth (SparseKD's label KD).
            Choices of places see the ground truth alone.
        unlabelled: the same, of boxes that choices of places take on frames without labels. Without
            it, terms whose places hang on boxes refuse such frames.
        heatmaps: taps of the student's class heatmaps, for choices that ask where it is wrong.

    Differs from the authors' releases: every loss takes chosen places with weights; maps and voxels
    of unequal size are matched in metres; logits are copied before mmdet3d's in-place sigmoid.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        teachers: Mapping[str, dict],
        terms: Mapping[str, Term | dict],
        labels: TeacherBoxes | dict | None = None,
        unlabelled: TeacherBoxes | dict | None = None,
        heatmaps: Sequence[str | Tap | dict] = (),
    ) -> None:
        boxes = {
            name: TeacherBoxes(**given) if isinstance(given, dict) else given
            for name, given in {PREDICTED: labels, PLACED: unlabelled}.items()
            if given is not None
        }
        built = {n: Term(**term) if isinstance(term, dict) else term for n, term in terms.items()}
        losses = {name: _function(term.loss) for name, term in built.items()}
        taps: dict[str, TapPair] = {}
        for name, term in built.items():
            logits = losses[name].func.__module__ == response.__name__
            overwritten = logits or in_head(Tap.parse(as_tap(term.tap)).path)
            tap = _cloned(term.tap) if overwritten else term.tap
            taps[name] = (tap, term.teacher, term.teacher_tap)
        taps |= {name: (None, setting.teacher, "") for name, setting in boxes.items()}
        pair = detector_pair(student, teachers, taps)
        heat = {f"{HEAT}{k}": _cloned(tap) for k, tap in enumerate(heatmaps)}
        pair["student_taps"] |= heat
        super().__init__(
            **pair,
            connectors={n: t.connector for n, t in built.items() if t.connector is not None},
            weights={name: as_schedule(term.weight) for name, term in built.items()},
        )
        self.losses, self.boxes, self.heatmaps = losses, boxes, list(heat)
        heads = {n: t.teacher for n, t in built.items() if in_head(Tap.parse(as_tap(t.tap)).path)}
        for name, teacher in heads.items():
            check_heads(self.student, self.teachers[teacher].model, f"term {name!r}")
        labelling = [boxes[PREDICTED].teacher] if PREDICTED in boxes else []
        self.same_classes = frozenset([*heads.values(), *labelling])
        self.choices = {name: [_choice(c) for c in term.places] for name, term in built.items()}
        self.teacher_of = {name: term.teacher for name, term in built.items()}
        self.student_range = point_range(self.student)
        self.teacher_ranges = {n: point_range(t.model) for n, t in self.teachers.items()}

    def student_batch(self, batch: Any, teachers: dict[str, Any]) -> Any:
        """The batch with the boxes that the teacher is sure of among its labels."""
        setting = self.boxes.get(PREDICTED)
        if setting is None:
            return batch
        predictions = getattr(teachers[setting.teacher], PREDICTED)
        samples, added = add_teacher_boxes(batch["data_samples"], predictions, setting)
        self.observe("teacher_boxes", added)
        return {**batch, "data_samples": samples}

    def scene_of(self, batch: Any, teachers: dict[str, Any]) -> Scene:
        """What is known of a batch; a teacher's boxes where there are no labels."""
        scene, setting = Scene.of(batch), self.boxes.get(PLACED)
        if setting is None or scene.boxes is None or all(b is not None for b in scene.boxes):
            return scene
        return scene.filled(boxes_of(getattr(teachers[setting.teacher], PLACED), setting))

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: Any
    ) -> dict[str, Tensor]:
        """For each term: match places, choose, adapt the student's width, compare."""
        scene = replace(self.scene_of(batch, teachers), heat=self.heat_of(student))
        found = {}
        for name, loss in self.losses.items():
            teacher = self.teacher_of[name]
            connector = dict(self.connectors.items()).get(name)
            own, target = getattr(student, name), getattr(teachers[teacher], name)
            if isinstance(own, FeatureMap) and connector is not None and takes_maps(connector):
                own, connector = adapted(own, connector), None
            ranges = self.student_range, self.teacher_ranges[teacher]
            places = match_places(own, target, ranges)
            everything = len(places)
            for choose in self.choices[name]:
                places = choose(places, scene)
            self.observe(f"{name}_coverage", len(places) / max(everything, 1))
            found[name] = self.compare(name, loss, places, connector)
        return found

    def heat_of(self, student: Any) -> FeatureMap | None:
        """Where the student sees an object of any class, if that was asked for."""
        maps: list[FeatureMap] = [getattr(student, name) for name in self.heatmaps]
        if not maps:
            return None
        surest = torch.cat([one.features.detach() for one in maps], 1).amax(1, keepdim=True)
        return FeatureMap(surest.sigmoid(), grid_of(maps[0], self.student_range))

    def compare(
        self, name: str, loss: partial[Tensor], places: Places, connector: nn.Module | None
    ) -> Tensor:
        """One term on the chosen rows; zero with gradient where none was chosen."""
        if len(places) == 0:
            trained = () if connector is None else connector.parameters()
            return zero_loss(places.student, *trained)
        own = places.student if connector is None else connector(places.student)
        if loss.func.__name__ not in ANY_WIDTH:
            check_widths(own.shape[1], places.teacher.shape[1], f"term {name!r}")
        wanted = signature(loss.func).parameters
        extra: dict[str, Any] = {}
        if "sample" in wanted:
            extra["sample"] = places.sample
        if "log_scale" in wanted:
            extra["log_scale"] = getattr(connector, "log_scale", None)
            if extra["log_scale"] is None:
                raise ValueError(
                    f"term {name!r}: {loss.func.__name__} needs a connector with variances, "
                    "lidistill.distill.detectors.edge_conv.Gaussian"
                )
        return loss(own, places.teacher, weights=places.weights, **extra)


def adapted(own: FeatureMap, connector: nn.Module) -> FeatureMap:
    """A map behind its connector; with a stride, of larger cells over the same rectangle."""
    grid, after = grid_of(own, None), FeatureMap(connector(own.features))
    if grid is None:
        return after
    (x0, x1), (y0, y1) = grid.x_range, grid.y_range
    return FeatureMap(after.features, grid_of(after, (x0, y0, 0.0, x1, y1, 0.0)))


def takes_maps(connector: nn.Module) -> bool:
    """Whether a connector works on maps (B, C, H, W) instead of rows."""
    return any(isinstance(module, nn.Conv2d) for module in connector.modules())


def _function(loss: Callable[..., Tensor] | dict) -> partial[Tensor]:
    arguments = dict(loss) if isinstance(loss, Mapping) else {"type": loss}
    function = arguments.pop("type")
    known = list(signature(function).parameters)
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ValueError(f"{function.__name__} has no arguments {unknown}; it has {known}")
    if "target" in known:
        raise ValueError(
            f"{function.__name__} needs the true class of every place, which a detection head does "
            "not have; use bernoulli_kd or pivotal_logits"
        )
    return partial(function, **arguments)


def _choice(choice: Choice | dict) -> Choice:
    if not isinstance(choice, Mapping):
        return choice
    arguments = dict(choice)
    built: Choice = arguments.pop("type")(**arguments)
    return built


def _cloned(tap: str | Tap | dict) -> Tap:
    """Logits are copied at once: mmdet3d's ``clip_sigmoid`` overwrites them."""
    found = Tap.parse(as_tap(tap))
    return Tap(found.path, found.index, found.grid, clone=True)
