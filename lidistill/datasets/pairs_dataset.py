# SPDX-License-Identifier: Apache-2.0
"""Frames of LiDAR points and camera images, read from an info file of ``lidistill create_data``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from lidistill import io
from lidistill.converters.info_paths import InfoPaths, camera_names, frame_token
from lidistill.converters.infos import load_infos
from lidistill.converters.superpixels.store import SuperpixelStore
from lidistill.datasets.frame import CameraView, Frame
from lidistill.geometry.projection import split_projection
from lidistill.registry import DATASETS, TRANSFORMS


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
        self.prefix = data_prefix
        self.store = None
        if superpixels_dir is not None:
            self.store = SuperpixelStore(superpixels_dir, expect=superpixels)
        # A runner may have set another default scope; names in a pipeline are ours first.
        self.steps = [
            step if callable(step) else TRANSFORMS.build({"_scope_": "lidistill", **step})
            for step in pipeline
        ]
        path = Path(ann_file)
        super().__init__(
            ann_file=str(path if path.is_absolute() or path.is_file() else self.root / path),
            data_root="",
            pipeline=[],
            indices=indices,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the info file; called once by mmengine."""
        infos = load_infos(self.ann_file, need=("lidar_points",))
        if not any(camera_names(info) for info in infos.frames):
            raise io.DataError(
                "This method needs camera images, but no frame of this info file names one.",
                path=self.ann_file,
                fix="use data with cameras; if these have some, put their images in place and make "
                "the info file again (lidistill create_data --restart, or your own script).",
            )
        self._metainfo.update(infos.metainfo)
        self.locate = InfoPaths(self.root, infos.metainfo, self.prefix)
        names: dict[str, str] = {}
        for info in infos.frames:
            missing = missing_keys(info, self.cameras)
            if missing:
                raise io.DataError(
                    f"This info file lacks {', '.join(missing)}.",
                    path=self.ann_file,
                    token=frame_token(info),
                    fix=io.INFOS_AGAIN,
                )
            self._refuse_shared_names(info, names)
        return infos.frames

    def _refuse_shared_names(self, info: Mapping[str, Any], known: dict[str, str]) -> None:
        """Superpixels and what a teacher says of an image are kept by its token."""
        for camera in camera_names(info, self.cameras):
            image = info["images"][camera]
            token, place = image.get("sample_data_token"), f"{camera}/{image['img_path']}"
            if token and known.setdefault(token, place) != place:
                raise io.DataError(
                    f"Two images have the sample_data_token {token}: {known[token]} and {place}.",
                    path=self.ann_file,
                    token=frame_token(info),
                    fix="give every image a token of its own, or none. " + io.INFOS_AGAIN,
                )

    def __getitem__(self, key: Any) -> Frame:
        """The frame of an index or of a `Draw`, after the pipeline."""
        index, seed = (key.index, key.seed) if hasattr(key, "seed") else (int(key), [int(key)])
        if not self._fully_initialized:
            self.full_init()
        frame = self.frame(self.get_data_info(index), np.random.default_rng(seed))
        try:
            for step in self.steps:
                frame = step(frame)
        except io.DataError as error:
            raise error.read_from(self.ann_file) from error.__cause__
        return frame

    def frame(self, info: Mapping[str, Any], rng: np.random.Generator) -> Frame:
        """The record of one info entry, with nothing loaded yet."""
        lidar = info["lidar_points"]
        labels = info.get("pts_semantic_mask_path")
        return Frame(
            token=frame_token(info),
            scene=str(info.get("scene_name", "")),
            lidar_path=self.locate(lidar["lidar_path"], "pts"),
            num_point_features=int(lidar["num_pts_feats"]),
            labels_path=self.locate(labels, "pts_semantic_mask") if labels else None,
            rng=rng,
            points=np.zeros((0, int(lidar["num_pts_feats"])), dtype=np.float32),
            cameras=[self._view(name, info) for name in camera_names(info, self.cameras)],
        )

    def some_images(self, count: int) -> list[Path]:
        """Image files of so many frames, evenly spaced; of each frame another camera's."""
        return some_images([(self, row) for row in range(len(self))], count)

    def _view(self, name: str, info: Mapping[str, Any]) -> CameraView:
        image = info["images"][name]
        path = self.locate(image["img_path"], name)
        token = image.get("sample_data_token") or path.relative_to(self.root).as_posix()
        intrinsics, shift = split_projection(np.asarray(image["cam2img"], dtype=np.float64))
        return CameraView(
            name=name,
            token=str(token),
            camera_from_lidar=shift @ np.asarray(image["lidar2cam"], dtype=np.float64),
            intrinsics=intrinsics,
            height=int(image["height"]),
            width=int(image["width"]),
            image_path=path,
            superpixels_path=self.store.path(image) if self.store is not None else None,
        )


def missing_keys(info: Mapping[str, Any], cameras: Sequence[str] | None) -> list[str]:
    """Dotted names of what the images of an info entry lack to become those of a `Frame`."""
    images, names = info.get("images", {}), camera_names(info, cameras)
    missing: list[str] = []
    for name in names:
        if name not in images:
            missing.append(f"images.{name} (there are: {', '.join(images)})")
            continue
        needed = ("img_path", "cam2img", "lidar2cam", "height", "width")
        missing += [f"images.{name}.{key}" for key in needed if key not in images[name]]
    return missing if names else ["images with an img_path"]


def some_images(places: Sequence[tuple[ImageLidarPairs, int]], count: int) -> list[Path]:
    """As :meth:`ImageLidarPairs.some_images`, of frames of several data sets."""
    found = []
    for number, (part, row) in enumerate(io.evenly(places, count)):
        cameras = part.frame(part.get_data_info(row), np.random.default_rng(0)).cameras
        found.append(cameras[number % len(cameras)].image_path)
    return found
