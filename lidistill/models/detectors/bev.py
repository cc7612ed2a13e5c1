# SPDX-License-Identifier: Apache-2.0
"""One bird's-eye-view detector for LiDAR, cameras or both: which is a matter of its config.

LiDAR side and head are those of an mmdet3d CenterPoint config, under its names, so that its
checkpoints fit; or those of a SECOND or PointPillars, whose head has anchors, under these names::

    model = dict(
        type=BEVDetector,
        config="mmdet3d::centerpoint/centerpoint_voxel0075_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
        point_range=(-54, -54, -5, 54, 54, 3),
        voxel_size=(0.075, 0.075, 0.2),
        sensors=("camera",),
        camera=dict(backbone=..., neck=..., view_transform=dict(type=LiftSplat, ...)),
    )
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from lidistill import compat
from lidistill.geometry.cameras import Cameras
from lidistill.losses.depth import DepthGuess
from lidistill.models.backbones.mmdet3d_encoders import build_part
from lidistill.models.detectors.bev_fusers import ConvFuser
from lidistill.models.detectors.bev_heads import build_head, init_heatmaps, named_parts
from lidistill.models.detectors.bev_inputs import BEVInputs
from lidistill.models.detectors.grid_fit import map_strides
from lidistill.models.detectors.mmdet3d import adapt_model, bev_grid, read_model_config
from lidistill.models.view_transforms.lift_splat import TrueDepth
from lidistill.registry import MODELS

IMAGE_NORM = {  # ImageNet's, for RGB of 0..255
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "pad_size_divisor": 32,
}


@MODELS.register_module()
class BEVDetector(BaseModel):
    """Encoders, fusion, BEV network, and CenterPoint's head or one with anchors.

    Taps that every config has, whatever its sensors: ``bev_low``, the encoders' map before the BEV
    network (B, C, Y, X) on ``low_grid``; ``bev_high``, the map behind it, on ``grid``;
    ``pts_bbox_head.task_heads.K`` with the maps of task K, or with anchors
    ``pts_bbox_head.conv_cls``, ``conv_reg`` and ``conv_dir_cls``. By sensor:
    ``pts_middle_encoder``, ``bev_camera``.

    Args:
        config: of an mmdet3d CenterPoint, SECOND or PointPillars, see
            :func:`lidistill.models.detectors.mmdet3d.read_model_config`.
        point_range: (x0, y0, z0, x1, y1, z1) metres.
        voxel_size: (x, y, z) metres.
        sensors: of ``"lidar"``, ``"camera"``.
        camera: ``backbone``, ``neck`` (both mmdet's or mmdet3d's; of the neck's maps the first is
            taken) and ``view_transform``, a config of
            :class:`lidistill.models.view_transforms.lift_splat.LiftSplat` without grid and heights;
            ``branches``, config of a module on the cameras' map, where a method needs one; names
            of what it reads of a batch, where it is not ``images="img"`` and ``depth="depth"``.
        fuser: config of a module for the two maps; needed where there are both sensors.
        changes: nested replacements inside mmdet3d's config, applied last.
        history: earlier keyframes whose camera maps are moved into the present frame and fused;
            they are made without gradient.

    Source: UniDistill (2303.15083), section 3.1; BEVDet4D (2203.17054) for ``history``.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        point_range: Sequence[float],
        voxel_size: Sequence[float],
        sensors: Sequence[str] = ("lidar",),
        camera: Mapping[str, Any] | None = None,
        fuser: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        history: int = 0,
    ) -> None:
        compat.apply()
        _check(sensors, camera, fuser, history)
        model = adapt_model(read_model_config(config), point_range, voxel_size, changes)
        model = named_parts(model)
        settings = dict(model["data_preprocessor"])
        settings.pop("type", None)
        read = {key: camera[key] for key in ("images", "depth") if camera and key in camera}
        super().__init__(data_preprocessor=BEVInputs(sensors, **read, **{**IMAGE_NORM, **settings}))
        self.sensors, self.history = tuple(sensors), history
        self.point_range = [float(value) for value in point_range]
        low, high = map_strides(model)
        self.grid = bev_grid(point_range, voxel_size, high)
        self.low_grid = bev_grid(point_range, voxel_size, low)
        if "lidar" in sensors:
            self.pts_voxel_encoder = build_part(model["pts_voxel_encoder"])
            self.pts_middle_encoder = build_part(model["pts_middle_encoder"])
        if camera is not None and "camera" in sensors:
            self._build_camera(camera)
        self.fuser = build_part(dict(fuser)) if fuser and len(sensors) > 1 else None
        self.bev_low = nn.Identity()
        self.pts_backbone = build_part(model["pts_backbone"])
        self.pts_neck = build_part(model["pts_neck"])
        self.bev_high = nn.Identity()
        self.pts_bbox_head = build_head(model, self.grid.shape[0] * self.grid.shape[1])
        # last: all else is drawn as in a detector without branches, so that the two can be paired
        self.camera_branches = build_part((camera or {}).get("branches"))

    def init_weights(self) -> None:
        """As mmdet3d's, and the bias of heatmaps."""
        super().init_weights()
        init_heatmaps(self.pts_bbox_head)

    def _build_camera(self, camera: Mapping[str, Any]) -> None:
        self.img_backbone = build_part(camera["backbone"])
        self.img_neck = build_part(camera.get("neck"))
        heights = (self.point_range[2], self.point_range[5])
        transform = {"z_range": heights, **camera["view_transform"], "grid": self.low_grid}
        self.view_transform = build_part(transform)
        true_depth = getattr(self.view_transform, "true_depth", False)
        if self.history and (true_depth or isinstance(self.view_transform, TrueDepth)):
            raise ValueError(
                "history=0 is needed with true depth (TrueDepth): the depths of earlier frames are "
                "not measured"
            )
        width = self.view_transform.out_channels
        self.frame_fuser = ConvFuser([width] * (1 + self.history), width) if self.history else None
        self.bev_camera = nn.Identity()

    # -- the network ------------------------------------------------------------------------------
    def extract_feat(
        self, inputs: Mapping[str, Any], data_samples: Sequence[Any]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Maps for the head, as mmdet3d's, and losses made on the way.

        Args:
            inputs: of the data preprocessor.
            data_samples: with the cameras' matrices in their metainfo.
        """
        maps: list[Tensor] = []
        losses: dict[str, Tensor] = {}
        if "lidar" in self.sensors:
            maps.append(self._encode_points(inputs["voxels"], len(inputs["points"])))
        if "camera" in self.sensors:
            bev, losses = self._encode_images(inputs, [s.metainfo for s in data_samples])
            bev = self.bev_camera(bev)
            maps.append(bev if self.camera_branches is None else self.camera_branches(bev))
        low = self.bev_low(maps[0] if self.fuser is None else self.fuser(maps))
        high = self.bev_high(self.pts_neck(self.pts_backbone(low))[0])
        return [high], losses

    def _encode_points(self, voxels: Mapping[str, Tensor], batch_size: int) -> Tensor:
        features = self.pts_voxel_encoder(voxels["voxels"], voxels["num_points"], voxels["coors"])
        bev: Tensor = self.pts_middle_encoder(features, voxels["coors"], batch_size)
        return bev

    def _encode_images(
        self, inputs: Mapping[str, Any], infos: Sequence[Mapping[str, Any]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The cameras' map, that of earlier frames in it; and the loss on depth, in training."""
        images, measured = inputs["imgs"], inputs.get("depth")
        cameras = Cameras.of_samples(infos)
        count = cameras.present.shape[1]
        frames = images.shape[1] // count if count else 0
        if frames <= self.history or images.shape[1] % max(count, 1):
            raise ValueError(
                f"expected images of {1 + self.history} moments of {count} cameras, got "
                f"{images.shape[1]} images; set history of the data set and of LoadCameras"
            )
        bev, guess = self._lift(images[:, :count], cameras, measured)
        losses = self.view_transform.loss(guess, measured) if self.training else {}
        if self.frame_fuser is None:
            return bev, losses
        maps = [bev]
        for step in range(self.history):
            first = (step + 1) * count
            with torch.no_grad():
                earlier = self._earlier(images[:, first : first + count], infos, step)
            maps.append(earlier)
        return self.frame_fuser(maps), losses

    def _lift(
        self, images: Tensor, cameras: Cameras, measured: Tensor | None
    ) -> tuple[Tensor, DepthGuess]:
        batch, count = images.shape[:2]
        features = self.img_backbone(images.flatten(0, 1))
        if self.img_neck is not None:
            features = self.img_neck(features)
        if isinstance(features, list | tuple):
            features = features[0]
        _check_cells("image features", features, images)
        if measured is not None:
            _check_cells("measured depths", measured, images)
        size = (images.shape[3], images.shape[4])
        lifted: tuple[Tensor, DepthGuess] = self.view_transform(
            features.unflatten(0, (batch, count)), cameras, size, measured
        )
        return lifted

    def _earlier(self, images: Tensor, infos: Sequence[Mapping[str, Any]], step: int) -> Tensor:
        """The map of an earlier keyframe, moved into the present frame."""
        moments = [info["history"][step] for info in infos]
        turns = [np.asarray(info.get("lidar_aug_matrix", np.eye(4))) for info in infos]
        seen = [{**m, "lidar_aug_matrix": a} for m, a in zip(moments, turns, strict=True)]
        bev, _ = self._lift(images, Cameras.of_samples(seen), None)
        moves = [  # both frames are augmented alike
            turn @ np.asarray(moment["from_present"]) @ np.linalg.inv(turn)
            for turn, moment in zip(turns, moments, strict=True)
        ]
        return self.low_grid.moved(bev, torch.from_numpy(np.stack(moves)))

    # -- mmengine's interface ---------------------------------------------------------------------
    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """``"loss"``: losses by name; ``"predict"``: samples with boxes; ``"tensor"``: head maps.

        Args:
            inputs: of the data preprocessor.
            data_samples: one a sample; in training with ``gt_instances_3d``.
            mode: mmengine's.

        Raises:
            ValueError: an unknown mode.
        """
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "tensor":
            return self.pts_bbox_head(self.extract_feat(inputs, data_samples)[0])
        raise ValueError(f"expected mode 'loss', 'predict' or 'tensor', got {mode!r}")

    def loss(self, inputs: Any, data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """The head's losses and the view transform's."""
        features, losses = self.extract_feat(inputs, data_samples)
        return {**self.pts_bbox_head.loss(features, data_samples), **losses}

    def predict(self, inputs: Any, data_samples: Sequence[Any]) -> list[Any]:
        """The samples, with ``pred_instances_3d``."""
        from mmengine.structures import InstanceData

        features, _ = self.extract_feat(inputs, data_samples)
        found = self.pts_bbox_head.predict(features, data_samples)
        for sample, boxes in zip(data_samples, found, strict=True):
            sample.pred_instances_3d = boxes
            sample.pred_instances = InstanceData()
        return list(data_samples)


def _check_cells(what: str, cells: Tensor, images: Tensor) -> None:
    """Cells (..., h, w) cover whole pixels of images (..., H, W); others are not where they seem.

    A network pads what its strides do not divide, and mmdet3d pads images behind their depths.
    """
    given, sides = cells.shape[-2:], images.shape[-2:]
    if any(side % count for side, count in zip(sides, given, strict=True)):
        raise ValueError(
            f"{what} of {given[0]} x {given[1]} cells do not divide images of {sides[0]} x "
            f"{sides[1]} pixels, so nobody knows which pixels a cell sees; set "
            "changes=dict(data_preprocessor=dict(pad_size_divisor=...)) of the detector to the "
            "stride of its image features (32 is mmdet's), and the size of AugmentImages to a "
            "multiple of it"
        )


def _check(sensors: Sequence[str], camera: Any, fuser: Any, history: int) -> None:
    unknown = [name for name in sensors if name not in ("lidar", "camera")]
    if unknown or not sensors or len(set(sensors)) != len(sensors):
        raise ValueError(f"sensors: expected 'lidar', 'camera' or both, got {tuple(sensors)}")
    if "camera" in sensors and camera is None:
        raise ValueError("a detector with a camera needs camera=dict(backbone, neck, ...)")
    if len(sensors) > 1 and fuser is None:
        raise ValueError(
            "a detector with two sensors needs a fuser, e.g. "
            "dict(type=GatedFuser, in_channels=[256, 256], out_channels=256)"
        )
    if history and "camera" not in sensors:
        raise ValueError("history moves the cameras' maps: it needs the sensor 'camera'")
