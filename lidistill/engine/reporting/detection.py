# SPDX-License-Identifier: Apache-2.0
"""What a detector is worth beside its baseline, as a report: scores, curves, classes, pictures."""

from __future__ import annotations

import copy
import math
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill import compat
from lidistill.distill.weights import load_weights, read_state_dict
from lidistill.engine.configs.options import merge_options
from lidistill.engine.configs.read import load_config, needs
from lidistill.engine.detection import Scores, evaluate_detector
from lidistill.engine.test import drop_teacher_checkpoints, leave_teachers_out
from lidistill.evaluation.kitti.ap import DIFFICULTIES, KittiScores
from lidistill.evaluation.results import ResultRow
from lidistill.geometry.cameras import KEYS, Cameras
from lidistill.io import DataError
from lidistill.provenance import commit, hardware
from lidistill.registry import DATASETS, MODELS
from lidistill.visualization.curves import read_scalars
from lidistill.visualization.detections.frames import (
    Boxes,
    Frame,
    panels_from_above,
    panels_in_cameras,
    regions_from_above,
)
from lidistill.visualization.report_data import ReportData


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        config: a detector or a distillation was trained with.
        checkpoints: name -> file, the baseline first, the detector that the page is about last.
        data_root: in place of the config's.
    """

    config: str | Path
    checkpoints: Mapping[str, Path]
    data_root: str | None = None

    def read(self, options: Mapping[str, Any] | None = None) -> Any:
        """The config with its changes.

        Raises:
            FileNotFoundError: a checkpoint is not there.
            ValueError: the config has no detector, or no frames to score it on.
        """
        compat.apply()
        for name, path in self.checkpoints.items():
            if not Path(path).is_file():
                raise FileNotFoundError(f"no checkpoint of the {name} in {path}")
        cfg = load_config(self.config, data_root=self.data_root)
        merge_options(cfg, dict(options or {}))
        needs(cfg, self.config, "model", "test_dataloader")
        return cfg


def fill_report(
    subject: Subject,
    work_dir: str | Path,
    frames: int = 3,
    score: float = 0.3,
    options: Mapping[str, Any] | None = None,
) -> ReportData:
    """Score each checkpoint on the config's validation split, and picture a few frames.

    Args:
        subject: config and checkpoints.
        work_dir: gets ``report/`` and a folder of scores a checkpoint.
        frames: pictured, evenly spaced.
        score: boxes above it are drawn.
        options: dotted key -> value, changes of the config.

    Returns:
        Not saved yet; its pictures are written.
    """
    cfg, folder = subject.read(options), Path(work_dir)
    first, last = (list(subject.checkpoints)[end] for end in (0, -1))
    data = ReportData(
        folder=folder / "report",
        title=f"{Path(subject.config).stem}: what the detector finds",
        lead="Each detector sees the same frames; truth, baseline and detector stand side by side.",
        dataset=str(cfg.get("data_root", "")),
        method=last,
        beside="what the detectors beside it reach",
        facts={"commit": commit(), "hardware": hardware()},
        commands=[_command(subject, work_dir, frames, score, options or {})],
    )
    for name, path in subject.checkpoints.items():
        begin = time.perf_counter()
        scores = evaluate_detector(cfg, path, _made(folder / name))
        seconds = time.perf_counter() - begin
        data.rows.append(_row(data, name, scores, str(path), seconds))
        data.rows[-1].twin = None if name == first else first
        _add_curves(data, name, Path(path).parent)
    _add_pictures(data, cfg, subject, frames, score)
    return data


def pictured(cfg: Any, checkpoints: Mapping[str, Path], count: int) -> Iterator[Picked]:
    """Frames of the validation split, evenly spaced, with what each checkpoint finds."""
    import torch
    from mmengine.dataset import pseudo_collate

    cfg = copy.deepcopy(cfg)
    drop_teacher_checkpoints(cfg)
    leave_teachers_out(cfg)
    model = MODELS.build(cfg.model).eval()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    rows = np.unique(np.linspace(0, len(dataset) - 1, max(count, 0)).astype(int)).tolist()
    found: dict[int, dict[str, Boxes]] = {row: {} for row in rows}
    for name, path in checkpoints.items():
        load_weights(getattr(model, "student", model), path)
        for row in rows:
            with torch.no_grad():
                batch = pseudo_collate([dataset[row]])
                predicted = getattr(model, "student", model).test_step(batch)[0].pred_instances_3d
            found[row][name] = _boxes(predicted.bboxes_3d, predicted.labels_3d, predicted.scores_3d)
    for row in rows:
        info = dataset.get_data_info(row)["eval_ann_info"]
        labels = np.asarray(info["gt_labels_3d"])
        truth = _boxes(info["gt_bboxes_3d"], labels, np.ones(len(labels)))
        kept = (truth.labels >= 0) & _in_range(truth.boxes, cfg.get("point_range"))
        truth = Boxes(truth.boxes[kept], truth.labels[kept], truth.scores[kept])
        packed = dataset[row]
        views, matrices = _views(packed)
        points = packed["inputs"].get("points", np.zeros((0, 3)))  # none of a camera alone
        frame = Frame(np.asarray(points), truth, found[row], views, matrices)
        yield Picked(row, frame, pseudo_collate([packed]))


@dataclass(frozen=True)
class Picked:
    """A frame that is pictured.

    Attributes:
        row: of the data set.
        frame: what is drawn.
        batch: of this sample alone, as a model takes it.
    """

    row: int
    frame: Frame
    batch: Any


def region_gaps(cfg: Any, checkpoint: Path, picked: list[Picked]) -> list[NDArray] | None:
    """How far the student is from its teacher at each true box: the feature loss, box by box.

    Args:
        cfg: of a UniDistill training whose teacher's checkpoint is there.
        checkpoint: of the student.
        picked: frames.

    Returns:
        Per frame (T,); None where the maps meet behind adapters that the checkpoint does not have
        (a student by itself, or an untaught one).
    """
    import torch

    method = MODELS.build(copy.deepcopy(cfg.model)).eval()
    load_weights(method.student, checkpoint)
    if len(method.connectors):
        if not any(name.startswith("connectors.") for name in read_state_dict(checkpoint)):
            return None
        load_weights(method.connectors, checkpoint)
    gaps = []
    for one in picked:
        boxes = [torch.from_numpy(one.frame.truth.boxes).float()]
        with torch.no_grad(), method.student_taps.capture(method.student) as student:
            method.student.test_step(one.batch)
        with torch.no_grad():
            teacher = method.teachers["teacher"](one.batch)
            rows = method.rows_at_points(student.low, teacher.low, boxes, "low")
        gaps.append((rows[0] - rows[1]).abs().mean(1).view(-1, 9).mean(1).numpy())
    return gaps


def _add_pictures(data: ReportData, cfg: Any, subject: Subject, count: int, score: float) -> None:
    forward: Any = "y" if "nuscenes" in str(cfg.test_evaluator.type).lower() else "x"
    picked = list(pictured(cfg, subject.checkpoints, count))
    gaps: dict[str, list[NDArray]] = {}
    for name, path in subject.checkpoints.items() if _has_teacher(cfg) else ():
        found = region_gaps(cfg, path, picked)
        if found is None:
            data.notes.append(f"{name}: no adapters in its checkpoint, so no map to its teacher.")
        else:
            gaps[name] = found
    for place, one in enumerate(picked):
        reach = _reach(one.frame)
        words = (
            f"Boxes above a score of {score:g}. Green: right within 2 m and of the class; red: "
            "wrong; orange: true but missed; white: truth."
        )
        sheet = panels_from_above(one.frame, score, reach, forward=forward)
        title = f"Frame {one.row} from above"
        data.add_picture(sheet, f"above_{one.row}", "detections", title, words, 3)
        if len(one.frame.views):
            sheet = panels_in_cameras(one.frame, score)
            title = f"Frame {one.row} in its cameras"
            data.add_picture(sheet, f"cameras_{one.row}", "detections", title, words, 3)
        if gaps:
            values = {name: each[place] for name, each in gaps.items()}
            sheet = regions_from_above(one.frame, values, reach, forward=forward)
            words = "Mean absolute difference of the low maps at each box's nine points."
            title = f"Frame {one.row}, student to teacher"
            data.add_picture(sheet, f"regions_{one.row}", "regions", title, words, 3)


def _has_teacher(cfg: Any) -> bool:
    from lidistill.methods.unidistill import UniDistill

    kind, teacher = cfg.model.get("type"), cfg.model.get("teacher")
    path = (teacher or {}).get("checkpoint") if isinstance(teacher, Mapping) else None
    return kind is UniDistill and path is not None and Path(path).is_file()


def _row(data: ReportData, name: str, scores: Scores, config: str, seconds: float) -> ResultRow:
    """The line of one checkpoint; metric, protocol and errors go to the page."""
    if isinstance(scores, KittiScores):
        moderate = DIFFICULTIES.index("moderate")
        value = scores.mean("3d", "R40", "moderate") / 100
        n = sum(counts[moderate] for counts in scores.objects.values())
        ap = {key: table["3d"]["R40"][moderate] / 100 for key, table in scores.ap.items()}
        data.metric = "3D AP (R40, moderate)"
    else:
        value, n, ap = scores.map, scores.boxes, dict(scores.ap)
        data.metric = "mAP"
        errors = ", ".join(f"{key} {error:.3f}" for key, error in scores.errors.items())
        data.facts[f"{name}: NDS and errors"] = f"NDS {scores.nds:.3f}, {errors}"
    data.protocol = scores.protocol
    per_class: dict[str, list[float | None]] = {
        key: [None if math.isnan(number) else number] for key, number in ap.items()
    }
    return ResultRow(name, None, data.metric, [value], [0], n, config, seconds, per_class)


def _add_curves(data: ReportData, name: str, run: Path) -> None:
    """Losses of the training that a checkpoint lies in, where its log is there."""
    try:
        scalars = read_scalars(run)
    except DataError:
        data.notes.append(f"{name}: no training log beside its checkpoint, so no curves.")
        return
    for key, (steps, values) in scalars.items():
        if key == "loss":
            data.add_curve("Loss", name, steps, values)
        elif key.startswith("raw_"):
            data.add_curve("Terms of the distillation, unweighted", key[4:], steps, values)


def _boxes(structure: Any, labels: Any, scores: Any) -> Boxes:
    structure = structure.to("cpu")
    rows = structure.tensor.double().numpy().copy()
    rows[:, :3] = structure.gravity_center.double().numpy()
    return Boxes(rows, np.asarray(labels, dtype=int), np.asarray(scores, dtype=float))


def _in_range(boxes: NDArray, covered: Any) -> NDArray[np.bool_]:
    """(M,) bool: which centres a detector can see at all; all where its range is not known."""
    if covered is None:
        return np.ones(len(boxes), bool)
    x0, y0, _, x1, y1, _ = covered
    x, y = boxes[:, 0], boxes[:, 1]
    return np.asarray((x >= x0) & (x < x1) & (y >= y0) & (y < y1))


def _views(packed: Mapping[str, Any]) -> tuple[list[NDArray], list[NDArray]]:
    """Images of a packed sample and their matrices; none where it has none."""
    info = packed["data_samples"].metainfo
    if "img" not in packed["inputs"] or any(key not in info for key in KEYS):
        return [], []
    cameras = Cameras.of_samples([info])
    count = cameras.present.shape[1]
    images = packed["inputs"]["img"][:count].permute(0, 2, 3, 1).numpy()
    return list(images), [cameras.image_from_lidar[0, k] for k in range(count)]


def _reach(frame: Frame) -> float:
    """Metres that hold all true boxes, in steps of ten."""
    if not len(frame.truth.boxes):
        return 40.0
    far = float(np.abs(frame.truth.boxes[:, :2]).max())
    return min(60.0, 10.0 * math.ceil((far + 2) / 10))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _command(
    subject: Subject, work_dir: str | Path, frames: int, score: float, options: Mapping[str, Any]
) -> str:
    names = dict(subject.checkpoints)
    last = names.popitem()[1]
    words: list[Any] = ["lidistill", "report", work_dir, "--config", subject.config]
    words += ["--checkpoint", last]
    words += [word for path in names.values() for word in ("--baseline", path)]
    words += ["--frames", frames, "--score", f"{score:g}"]
    words += [] if subject.data_root is None else ["--data-root", subject.data_root]
    words += ["--cfg-options", *(f"{key}={value}" for key, value in options.items())]
    return shlex.join(map(str, words if options else words[:-1]))
