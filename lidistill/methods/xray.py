# SPDX-License-Identifier: Apache-2.0
"""X-Ray Distillation: a detector that sees objects whole teaches one that sees them as scanned.

Gambashidze, Dadukin, Golyadkin, Razzhivina, Makarov, "Weak-to-Strong 3D Object Detection with X-Ray
Distillation", CVPR 2024, https://arxiv.org/abs/2404.00679.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lidistill.datasets.object_complete.transforms import TEACHER_POINTS
from lidistill.distill.connectors import check_widths
from lidistill.distill.detectors.choices import Foreground, Scene
from lidistill.distill.detectors.heads import check_heads
from lidistill.distill.detectors.labels import TeacherBoxes, boxes_of, pseudo_labels
from lidistill.distill.detectors.method import TapPair, detector_pair
from lidistill.distill.detectors.places import Places, match_places, point_range
from lidistill.distill.distiller import Distiller
from lidistill.distill.schedules import Schedule
from lidistill.distill.taps import Tap
from lidistill.losses.contrastive import zero_loss
from lidistill.losses.feature import fitnet
from lidistill.losses.response import bernoulli_kd, confident_boxes
from lidistill.registry import MODELS

TEACHER, PREDICTED = "teacher", "predicted"


@dataclass(frozen=True)
class Head:
    """The maps of a detection head.

    Attributes:
        classes: module path of its class logits, (B, A K, H, W).
        boxes: module paths of its box regressions, each (B, A n, H, W).
        anchors: A boxes a cell, whose channels lie one behind the other.
    """

    classes: str
    boxes: Sequence[str] = ()
    anchors: int = 1


@MODELS.register_module()
class XRay(Distiller):
    """Weak-to-strong distillation: the teacher's input is object-complete, the student's is not.

    L = L_det(student, labels) + a L_feature + b L_classes + c L_boxes; each term can be left out.

    Args:
        student: detector, or config of one; it keeps its own data preprocessor and losses.
        teacher: ``dict(model=..., checkpoint=...)``: the same kind of detector, trained on
            object-complete frames. With ``complete=False`` in it the teacher sees what the student
            sees: the control.
        feature: module path of a BEV map; None leaves L_feature out.
        heads: :class:`Head` or its fields, one a task; none leaves L_classes and L_boxes out.
        terms: which of ``feature``, ``classes``, ``boxes`` are computed; none where ``pseudo``
            alone is to train the student.
        connector: from the student's width of the map to the teacher's; None = the same.
        score: places of a teacher's confidence above count in L_classes and L_boxes.
        margin: metres by which boxes are widened for L_feature.
        pseudo: :class:`TeacherBoxes` or its fields: on frames without labels these boxes of the
            teacher are the student's labels. None: the student's own loss rests there, and
            L_feature refuses such frames.
        weights: term -> number or schedule.

    Differs from the authors' release: it has no training code, and the formulas and weights of the
    paper's losses are not in any public text. The terms here are plain ones of their kind.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        teacher: dict,
        feature: str | None = None,
        heads: Sequence[Head | dict] = (),
        terms: Sequence[str] = ("feature", "classes", "boxes"),
        connector: nn.Module | dict | None = None,
        score: float = 0.1,
        margin: float = 0.0,
        pseudo: TeacherBoxes | dict | None = None,
        weights: Mapping[str, float | Schedule] | None = None,
    ) -> None:
        built = [Head(**head) if isinstance(head, dict) else head for head in heads]
        teacher = dict(teacher)
        complete = bool(teacher.pop("complete", True))
        self_terms = _terms(terms, feature, built, pseudo is not None)
        taps: dict[str, TapPair] = {}
        if "feature" in self_terms:
            taps["feature"] = (feature, TEACHER, None)
        for task, head in enumerate(built):
            if {"classes", "boxes"} & set(self_terms):
                taps[f"classes_{task}"] = (Tap(head.classes, clone=True), TEACHER, None)
            if "boxes" in self_terms:
                for part, path in enumerate(head.boxes):
                    taps[f"boxes_{task}_{part}"] = (Tap(path, clone=True), TEACHER, None)
        if pseudo is not None:
            taps[PREDICTED] = (None, TEACHER, "")
        super().__init__(
            **detector_pair(student, {TEACHER: teacher}, taps),
            connectors={} if connector is None else {"feature": connector},
            weights=weights,
        )
        if built or pseudo is not None:
            check_heads(self.student, self.teachers[TEACHER].model, "XRay")
            self.same_classes = frozenset({TEACHER})
        self.heads, self.terms, self.score, self.complete = built, self_terms, score, complete
        self.pseudo = TeacherBoxes(**pseudo) if isinstance(pseudo, dict) else pseudo
        self.inside = Foreground(margin)
        self.ranges = point_range(self.student), point_range(self.teachers[TEACHER].model)

    def teacher_batch(self, _name: str, batch: Any) -> Any:
        """The batch with the object-complete clouds in place of the ordinary ones."""
        if not self.complete:
            return batch
        inputs = batch.get("inputs", {}) if isinstance(batch, Mapping) else {}
        if TEACHER_POINTS not in inputs:
            raise ValueError(
                "XRay's teacher sees object-complete frames, but the batch has none; put "
                "ComposeObjectComplete(view='both') behind the transforms that load points and "
                "SplitObjectComplete behind Pack3DDetInputs"
            )
        return {**batch, "inputs": {**inputs, "points": inputs[TEACHER_POINTS]}}

    def student_batch(self, batch: Any, teachers: dict[str, Any]) -> Any:
        """Frames without labels take the boxes that the teacher is sure of, if so asked."""
        if self.pseudo is None:
            return batch
        predictions = getattr(teachers[TEACHER], PREDICTED)
        samples, added = pseudo_labels(batch["data_samples"], predictions, self.pseudo)
        self.observe("pseudo_boxes", added)
        return {**batch, "data_samples": samples}

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: Any
    ) -> dict[str, Tensor]:
        """The three terms: features inside objects, class logits, box regressions."""
        teacher = teachers[TEACHER]
        losses: dict[str, Tensor] = {}
        if "feature" in self.terms:
            places = match_places(student.feature, teacher.feature, self.ranges)
            places = self.inside(places, self.scene_of(batch, teacher))
            self.observe("feature_places", len(places))
            losses["feature"] = self.feature_loss(places)
        for task, head in enumerate(self.heads):
            if not {"classes", "boxes"} & set(self.terms):
                break
            own, target = self.rows_of(student, teacher, f"classes_{task}", head.anchors)
            confidence = target.sigmoid().amax(1)  # (R A,)
            sure = (confidence >= self.score).nonzero().squeeze(1)
            weights = confidence[sure]
            self.observe(f"sure_places_{task}", len(sure))
            if "classes" in self.terms:
                term = bernoulli_kd(own[sure], target[sure], weights)
                losses["classes"] = losses.get("classes", 0.0) + term
            for part in range(len(head.boxes) if "boxes" in self.terms else 0):
                own, target = self.rows_of(student, teacher, f"boxes_{task}_{part}", head.anchors)
                term = confident_boxes(own[sure], target[sure], weights)
                losses["boxes"] = losses.get("boxes", 0.0) + term
        return losses

    def rows_of(self, student: Any, teacher: Any, name: str, anchors: int) -> tuple[Tensor, Tensor]:
        """A head's map on both sides as rows, (R A, n), one a cell and anchor."""
        places = match_places(getattr(student, name), getattr(teacher, name), self.ranges)
        rows = len(places) * anchors
        return places.student.reshape(rows, -1), places.teacher.reshape(rows, -1)

    def feature_loss(self, places: Places) -> Tensor:
        """Mean squared distance of the features inside objects."""
        connector = dict(self.connectors.items()).get("feature")
        if len(places) == 0:
            trained = () if connector is None else connector.parameters()
            return zero_loss(places.student, *trained)
        own = places.student if connector is None else connector(places.student)
        check_widths(own.shape[1], places.teacher.shape[1], "term 'feature'")
        return fitnet(own, places.teacher, places.weights)

    def scene_of(self, batch: Any, teacher: Any) -> Scene:
        """Boxes: the labels; the teacher's on frames without any."""
        scene = Scene.of(batch)
        if self.pseudo is None or scene.boxes is None or all(b is not None for b in scene.boxes):
            return scene
        return scene.filled(boxes_of(getattr(teacher, PREDICTED), self.pseudo))


def _terms(
    terms: Sequence[str], feature: str | None, heads: Sequence[Head], pseudo: bool
) -> tuple[str, ...]:
    """The terms that can be computed; none is enough where the teacher gives labels.

    Raises:
        ValueError: an unknown one, or none is left.
    """
    able = {
        "feature": feature is not None,
        "classes": bool(heads),
        "boxes": any(head.boxes for head in heads),
    }
    unknown = sorted(set(terms) - set(able))
    if unknown:
        raise ValueError(f"XRay has the terms {sorted(able)}, got {unknown}")
    kept = tuple(term for term in able if term in terms and able[term])
    if not kept and not (pseudo and not terms):
        raise ValueError(
            "XRay has no term left; name a BEV map as `feature`, or the maps of the head as `heads`"
        )
    return kept
