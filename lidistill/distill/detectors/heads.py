# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a detection head mean: two heads can be compared only where they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lidistill import compat
from lidistill.distill.distiller import Distiller
from lidistill.distill.taps import Tap
from lidistill.io.checkpoints import read_checkpoint

HEADS = ("pts_bbox_head", "bbox_head", "rpn_head", "roi_head")


def in_head(path: str) -> bool:
    """Whether a tap takes what a detection head computes."""
    return path.partition(".")[0] in HEADS


def branch_taps(model: nn.Module) -> dict[str, Tap]:
    """A tap of every map that a CenterPoint head gives: ``task0_heatmap``, ``task0_reg``, ...

    Heatmaps are copied: mmdet3d's ``clip_sigmoid`` overwrites the logits with probabilities.

    Raises:
        ValueError: the detector has no such head.
    """
    for name in HEADS:
        tasks = getattr(getattr(model, name, None), "task_heads", None)
        if tasks is not None:
            return {
                f"task{k}_{branch}": Tap(
                    f"{name}.task_heads.{k}.{branch}", clone=branch == "heatmap"
                )
                for k, task in enumerate(tasks)
                for branch in task.heads
            }
    raise ValueError(
        f"expected a detector with CenterPoint's head (task_heads), got {type(model).__name__}; "
        "for heads with anchors use FeatureKD with bernoulli_kd or pivotal_logits"
    )


def convention(model: nn.Module) -> dict[str, Any]:
    """What the channels of a detector's head stand for, as far as the head says it.

    Returns:
        Class of the head and of its box coder (which decides the origin of boxes along z: mmdet3d's
        anchor heads count from the bottom, CenterPoint from the centre), numbers of a box, classes
        by name or number, and for anchors sizes, heights (metres) and rotations (radians), whose
        order is that of the classes.
    """
    heads = [getattr(model, name) for name in HEADS if hasattr(model, name)]
    if not heads:
        return {}
    head = heads[0]
    coder = getattr(head, "bbox_coder", None)
    found = {
        "head": type(head).__name__,
        "box coder": None if coder is None else type(coder).__name__,
        "numbers of a box": getattr(coder, "code_size", None),
        "sizes as logarithms": getattr(head, "norm_bbox", None),
        "classes": getattr(head, "class_names", getattr(head, "num_classes", None)),
    }
    anchors = getattr(head, "prior_generator", None)
    if anchors is not None:
        found["anchor sizes"] = _plain(anchors.sizes)
        found["anchor heights"] = [row[2] for row in _plain(anchors.ranges)]
        found["anchor rotations"] = _plain(anchors.rotations)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(float(value), 4)


def class_count(model: nn.Module) -> int | None:
    """How many classes a detector's head tells apart, as far as it says so."""
    found = convention(model).get("classes")
    if isinstance(found, list | tuple):  # names, of CenterPoint by task
        return sum(1 if isinstance(one, str) else len(one) for one in found)
    return None if found is None else int(found)


def check_heads(student: nn.Module, teacher: nn.Module, who: str) -> None:
    """Refuse to compare heads whose numbers mean different things.

    Args:
        student: detector.
        teacher: detector.
        who: what compares them, for the message.

    Raises:
        ValueError: they differ; says in what.
    """
    own, target = convention(student), convention(teacher)
    different = [
        f"{name}: {own.get(name)} (student), {target.get(name)} (teacher)"
        for name in own.keys() | target.keys()
        if own.get(name) != target.get(name)
    ]
    if different:
        raise ValueError(
            f"{who} compares what two heads say, but their numbers mean different things: "
            f"{'; '.join(sorted(different))}. Build both from one config, or tap what lies before "
            "the heads, such as 'neck[0]'"
        )


def check_labels(model: nn.Module, classes: Sequence[str]) -> None:
    """Refuse data whose labels count further than the detector's head.

    Args:
        model: detector, or a Distiller around one.
        classes: of the data set.

    Raises:
        ValueError: there are more classes than the head tells apart.
    """
    known = class_count(getattr(model, "student", model))
    if known is not None and len(classes) > known:
        raise ValueError(
            f"the detector's head tells {known} classes apart, and the data set has "
            f"{len(classes)}, {', '.join(classes)}; name the head's classes in its order for both "
            "data sets, in the config: train_dataloader['dataset']['dataset']['metainfo'] and "
            "test_dataloader['dataset']['metainfo'] = dict(classes=(...,)), or build the detector "
            "for all of them"
        )


def check_classes(distiller: Distiller, classes: Sequence[str]) -> None:
    """Refuse a teacher whose labels count other classes, where labels or logits are compared.

    Args:
        distiller: names such teachers in ``same_classes``.
        classes: of the data set that the student is trained on, in its order.

    Raises:
        ValueError: the teacher's checkpoint names other classes, or the same in another order.
    """
    for name in sorted(distiller.same_classes):
        path = distiller.teachers[name].checkpoint
        known = None if path is None else read_classes(path)
        if known is not None and known != tuple(classes):
            kind = "in another order" if set(known) == set(classes) else "not the same ones"
            raise ValueError(
                f"the teacher {name!r} was trained on the classes {known} and the student is on "
                f"{tuple(classes)}: {kind}, so that label i is not the same thing; give the "
                "student's data set metainfo=dict(classes=...) in the teacher's order, or take a "
                "teacher of these classes"
            )


def read_classes(path: str | Path) -> tuple[str, ...] | None:
    """The classes that a checkpoint of mmengine (or of older mmdet3d) says it was trained on."""
    compat.apply()
    content = read_checkpoint(path)
    meta = content.get("meta", {}) if isinstance(content, Mapping) else {}
    meta = meta if isinstance(meta, Mapping) else {}
    names = (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")
    return tuple(names) if names else None
