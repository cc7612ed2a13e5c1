# SPDX-License-Identifier: Apache-2.0
"""Frames of LiDAR points and camera images, read from an info file of ``lidistill create_data``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from numpy.typing import NDArray

from lidistill import io
from lidistill.datasets.frame import CameraView, Frame
from lidistill.registry import DATASETS, TRANSFORMS

FIX_INFO = "run lidistill create_data on this dataset again, and give its info file here."


@DATASETS.register_module()
class ImageLidarPairs(BaseDataset):
    """Dataset of `Frame`; transforms load and pair.

    ``dataset[3]`` and ``dataset[Draw(3, seed)]`` give the same sample; the seed decides everything
    random about it. An error in a file is raised, not skipped.

    Args:
        ann_file: Info file; a relative path is looked for in ``data_root``.
        data_root: Folder of the dataset (with ``samples/`` or ``training/``).
        pipeline: Callables Frame -> Frame, or configs of them.
        cameras: Names of the cameras to use, in that order; None takes all.
        superpixels_dir: Superpixel store made by ``lidistill superpixels``, or None.
        superpixels: Parameters that the store must have been made with, e.g. ``{"segments": 150}``.
        data_prefix: Folders of ``pts``, ``pts_semantic_mask`` and each camera below the root, as in
            mmdet3d; None takes the standard ones of nuScenes and KITTI. A path in the info file
            with a folder in it counts from the root.
        indices: Use only these samples, or the first so many.
    """

    def __init__(
        self,
        ann_file: str | Path,
        data_root: str | Path,
        pipeline: Sequence[Callable[[Frame], Frame] | Mapping[str, Any]],
        cameras: Sequence[str] | None = None,
        superpixels_dir: str | Path | None = None,
        superpixels: Mapping[str, Any] | None = None,
        data_prefix: Mapping[str, str] | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        self.root, self.cameras = Path(data_root), cameras
        self.prefix: dict[str, str] = dict(data_prefix or {})
        self.custom_prefix = data_prefix is not None
        self.store = None
        if superpixels_dir is not None:
            from lidistill.converters.superpixels import SuperpixelStore

            self.store = SuperpixelStore(superpixels_dir, expect=superpixels)
        self.steps = [step if callable(step) else TRANSFORMS.build(dict(step)) for step in pipeline]
        path = Path(ann_file)
        super().__init__(
            ann_file=str(path if path.is_absolute() or path.is_file() else self.root / path),
            data_root="",
            pipeline=[],
            indices=indices,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the info file; called once by mmengine."""
        content = io.load_pickle(self.ann_file, FIX_INFO)
        if not isinstance(content, dict) or not {"metainfo", "data_list"} <= content.keys():
            found = (
                sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
            )
            raise io.DataError(
                "Expected an info file with 'metainfo' and 'data_list' (mmdet3d v1.1 schema), got "
                f"{found}.",
                path=self.ann_file,
                fix=FIX_INFO,
            )
        self._metainfo.update(content["metainfo"])
        if not self.custom_prefix:
            self.prefix = default_prefix(content["metainfo"])
        for info in content["data_list"]:
            self._check(info)
        return list(content["data_list"])

    def __getitem__(self, key: Any) -> Frame:
        """The frame of an index or of a `Draw`, after the pipeline."""
        index, seed = (key.index, key.seed) if hasattr(key, "seed") else (int(key), [int(key)])
        if not self._fully_initialized:
            self.full_init()
        frame = self.frame(self.get_data_info(index), np.random.default_rng(seed))
        for step in self.steps:
            frame = step(frame)
        return frame

    def frame(self, info: Mapping[str, Any], rng: np.random.Generator) -> Frame:
        """The record of one info entry, with nothing loaded yet."""
        lidar = info["lidar_points"]
        labels = info.get("pts_semantic_mask_path")
        names = self.cameras or list(info["images"])
        return Frame(
            token=str(info["token"]),
            scene=str(info.get("scene_name", "")),
            lidar_path=self._path(lidar["lidar_path"], "pts"),
            num_point_features=int(lidar["num_pts_feats"]),
            labels_path=self._path(labels, "pts_semantic_mask") if labels else None,
            rng=rng,
            points=np.zeros((0, int(lidar["num_pts_feats"])), dtype=np.float32),
            cameras=[self._view(name, info) for name in names],
        )

    def _view(self, name: str, info: Mapping[str, Any]) -> CameraView:
        image = info["images"][name]
        intrinsics, shift = split_projection(np.asarray(image["cam2img"], dtype=np.float64))
        superpixels = None
        if self.store is not None:
            superpixels = self.store.path(str(image["sample_data_token"]))
        return CameraView(
            name=name,
            token=str(image["sample_data_token"]),
            camera_from_lidar=shift @ np.asarray(image["lidar2cam"], dtype=np.float64),
            intrinsics=intrinsics,
            height=int(image["height"]),
            width=int(image["width"]),
            image_path=self._path(image["img_path"], name),
            superpixels_path=superpixels,
        )

    def _path(self, path: str, kind: str) -> Path:
        return self.root / path if "/" in path else self.root / self.prefix.get(kind, "") / path

    def _check(self, info: Any) -> None:
        """Each entry must hold what `frame` reads."""
        token = (
            str(info.get("token", info.get("sample_idx", "?"))) if isinstance(info, dict) else None
        )
        missing = missing_keys(info, self.cameras)
        if missing:
            raise io.DataError(
                f"This info file follows another schema: no {', '.join(missing)}.",
                path=self.ann_file,
                token=token,
                fix=FIX_INFO,
            )


def missing_keys(info: Any, cameras: Sequence[str] | None) -> list[str]:
    """Dotted names of what an info entry lacks to become a `Frame`."""
    if not isinstance(info, dict):
        return ["dictionary per sample"]
    missing = [key for key in ("token", "images", "lidar_points") if key not in info]
    if missing:
        return missing
    lidar = info["lidar_points"]
    missing = [f"lidar_points.{k}" for k in ("lidar_path", "num_pts_feats") if k not in lidar]
    needed = ("img_path", "cam2img", "lidar2cam", "sample_data_token", "height", "width")
    for name in cameras or info["images"]:
        image = info["images"].get(name)
        if image is None:
            missing.append(f"images.{name} (there are: {', '.join(info['images'])})")
        else:
            missing += [f"images.{name}.{key}" for key in needed if key not in image]
    return missing if info["images"] else ["images (empty)"]


def default_prefix(metainfo: Mapping[str, Any]) -> dict[str, str]:
    """Standard folders of a dataset, keyed as mmdet3d's ``data_prefix``."""
    dataset = str(metainfo.get("dataset", "")).lower()
    if dataset == "kitti":
        return {"pts": "training/velodyne", "CAM2": "training/image_2", "CAM3": "training/image_3"}
    names = ("FRONT", "FRONT_RIGHT", "BACK_RIGHT", "BACK", "BACK_LEFT", "FRONT_LEFT")
    return {
        "pts": "samples/LIDAR_TOP",
        "pts_semantic_mask": f"lidarseg/{metainfo.get('version', 'v1.0-trainval')}",
        **{f"CAM_{name}": f"samples/CAM_{name}" for name in names},
    }


def split_projection(
    cam2img: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intrinsics (3, 3) and a (4, 4) shift of the camera whose product is a projection matrix.

    KITTI's P2 holds the offset from the rectified reference camera in its fourth column:
    ``P = K [I | t]``.

    Args:
        cam2img: (3, 3), (3, 4) or (4, 4).
    """
    shift = np.eye(4)
    if cam2img.shape[1] == 4:
        shift[:3, 3] = np.linalg.solve(cam2img[:3, :3], cam2img[:3, 3])
    return cam2img[:3, :3], shift
