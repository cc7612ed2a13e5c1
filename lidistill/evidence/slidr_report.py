# SPDX-License-Identifier: Apache-2.0
"""Pictures, curves and tables of a SLidR run, for the report page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lidistill.datasets.frame import Frame
from lidistill.datasets.loading import LoadImages, LoadPoints, LoadSuperpixels, PairPoints
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.engine.loops.probing import calibrate_student, iou_by_class
from lidistill.evaluation.label_maps import (
    NUSCENES_CLASSES,
    NUSCENES_COLOURS,
    map_labels,
    nuscenes_label_table,
)
from lidistill.evaluation.probes.result import ProbeResult
from lidistill.evaluation.results import ResultRow
from lidistill.evidence.slidr_runs import SUPERPIXELS, build_model, device_of, probe_batches
from lidistill.visualization.bev import bev_picture
from lidistill.visualization.colours import region_colours
from lidistill.visualization.curves import read_scalars
from lidistill.visualization.feature_pca import FeaturePCA
from lidistill.visualization.overlays import (
    contact_sheet,
    paired_picture,
    paired_regions,
    superpixel_picture,
)
from lidistill.visualization.report_data import ReportData

FRONT = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")
GREY = 90


def result_row(
    name: str,
    result: ProbeResult,
    *,
    twin: str | None,
    seed: int,
    config: str,
    wall_s: float,
    note: str = "",
) -> ResultRow:
    """One line of the table from one probe."""
    return ResultRow(
        name=name,
        twin=twin,
        metric="linear-probe mIoU",
        values=[result.miou],
        seeds=[seed],
        n=result.val_points,
        config=config,
        wall_s=wall_s,
        per_class={
            label: [None if np.isnan(value) else value]
            for label, value in iou_by_class(result).items()
        },
        note=note,
    )


def add_input_pictures(data: ReportData, root: Path, index: int = 0) -> None:
    """Superpixels over images, and points in the colours of their paired superpixels."""
    frame = _training_frame(root, index)
    views = [superpixel_picture(view) for view in frame.cameras]
    data.add_picture(
        contact_sheet(views, columns=3),
        "superpixels",
        "superpixels",
        "Superpixels of the three front cameras",
        "SLIC on the image alone. Each patch is one region.",
        span=3,
    )
    paired = [paired_picture(frame, camera) for camera in range(len(frame.cameras))]
    data.add_picture(
        contact_sheet(paired, columns=3),
        "paired",
        "pairs",
        "Points on the dimmed images",
        "Each LiDAR point has the colour of the superpixel it falls on.",
        span=3,
    )
    colours = region_colours(paired_regions(frame))
    data.add_picture(
        bev_picture(frame.points, colours),
        "regions_bev",
        "pairs",
        "The same regions from above",
        "Grey points are seen by none of these three cameras. Rings every 10 m.",
        span=1,
    )


def add_teacher_picture(data: ReportData, config: Path, checkpoint: Path, root: Path) -> None:
    """PCA of the image teacher's features on the three front cameras."""
    from lidistill.distill.teacher import Teacher
    from lidistill.engine.configs.read import load_config

    frame = _training_frame(root, 0)
    images = np.stack([camera.image for camera in frame.cameras if camera.image is not None])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy((images / 255.0 - mean) / std).permute(0, 3, 1, 2).float()
    teacher = load_config(config).model.teacher
    model = Teacher(teacher["model"], taps={"map": ""}, checkpoint=str(checkpoint)).model
    with torch.no_grad():
        maps = model(pixels)
        maps = torch.nn.functional.interpolate(maps, scale_factor=4, mode="bilinear")
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    pictures = (
        FeaturePCA.fit(rows[::7]).colours(rows).reshape(*maps.permute(0, 2, 3, 1).shape[:3], 3)
    )
    data.add_picture(
        contact_sheet(list(pictures), columns=3),
        "teacher",
        "teacher",
        "Features of the image network",
        "Trained on these images without labels. One colour scale for all three.",
        span=3,
    )


def add_feature_pictures(
    data: ReportData, config: Path, checkpoints: Mapping[str, Path | None], root: Path, seed: int
) -> None:
    """Point features of a validation frame from above, one picture a network, and the labels."""
    frames = probe_batches(config, root, "val")
    batch = next(iter(frames))
    points = batch.points.numpy()
    for name, checkpoint in checkpoints.items():
        features = voxel_features(config, checkpoint, root, seed, batch)
        directions = FeaturePCA.fit(_far_from_the_sensor(features, batch))
        voxel = batch.point_to_voxel.numpy()
        seen = voxel >= 0
        data.add_picture(
            bev_picture(points[seen], directions.colours(features)[voxel[seen]]),
            f"features_{len(data.pictures)}",
            "features",
            name,
            "Main directions of its features as colours; fitted to this frame, beyond 12 m.",
        )
    labels = map_labels(batch.point_labels.numpy(), nuscenes_label_table())
    data.add_picture(
        bev_picture(points, NUSCENES_COLOURS[labels]),
        "labels_bev",
        "features",
        "The true classes",
        "For comparison only: no network above has seen a label.",
    )
    data.class_colours = {
        name: (int(r), int(g), int(b))
        for name, (r, g, b) in zip(NUSCENES_CLASSES[1:], NUSCENES_COLOURS[1:], strict=True)
    }


def voxel_features(
    config: Path, checkpoint: Path | None, root: Path, seed: int, batch: Any
) -> NDArray[np.float32]:
    """(V, C) features of unit length and variance, with batch norm calibrated as in the probe."""
    model = build_model(config, checkpoint, seed)
    device = device_of(model)
    calibrate_student(model, probe_batches(config, root, "train", device))
    with torch.no_grad():
        voxels = model(batch.to(device), mode="predict").cpu()
    standard = (voxels - voxels.mean(0)) / voxels.std(0).clamp(min=1e-6)
    return torch.nn.functional.normalize(standard, dim=1).numpy()


def _far_from_the_sensor(features: NDArray[np.float32], batch: Any) -> NDArray[np.float32]:
    """The voxels beyond 12 m: nearer, the rings on the road outnumber everything else."""
    seen = batch.point_to_voxel >= 0
    far = torch.zeros(len(features), dtype=torch.bool)
    far[batch.point_to_voxel[seen]] = batch.points[seen, :2].norm(dim=1) > 12.0
    return features[far.numpy()]


def add_training_curves(data: ReportData, work_dirs: Mapping[str, Path]) -> None:
    """Loss of each run that was logged, one chart a loss."""
    for name, folder in work_dirs.items():
        if not any(folder.glob("*/vis_data/scalars.json")):
            continue  # shorter than one logging interval
        for scalar, (steps, values) in read_scalars(folder).items():
            if scalar == "loss":
                chart = "image teacher" if name == "image_teacher" else "pretraining loss"
                data.add_curve(chart, name, steps, values)


def _training_frame(root: Path, index: int) -> Frame:
    dataset = ImageLidarPairs(
        ann_file="lidistill_infos_train.pkl",
        data_root=root,
        superpixels_dir=root / SUPERPIXELS,
        cameras=FRONT,
        pipeline=[LoadPoints(), LoadImages(), LoadSuperpixels(), PairPoints()],
    )
    return dataset[index]
