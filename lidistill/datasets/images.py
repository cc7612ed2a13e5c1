# SPDX-License-Identifier: Apache-2.0
"""Two random crops of one image with known correspondence: data of dense self-supervision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import BaseDataset
from numpy.typing import NDArray
from torch import Tensor

from lidistill import io
from lidistill.converters.info_paths import InfoPaths, camera_names, frame_token
from lidistill.converters.infos import load_infos
from lidistill.datasets.photometric import ColourJitter
from lidistill.datasets.transforms import random_box
from lidistill.geometry.correspondence import crop_resize_affine, flip_affine
from lidistill.io.decode import decode_image
from lidistill.registry import DATASETS

Box = tuple[int, int, int, int]
# ImageNet's, per channel RGB in [0, 1], as PackPairs.
MEAN = np.array((0.485, 0.456, 0.406), dtype=np.float32)
STD = np.array((0.229, 0.224, 0.225), dtype=np.float32)
FIX_IMAGE = io.FILE_AGAIN


@dataclass
class TwoViews:
    """Two augmented crops of one image and points that both show.

    Attributes:
        views: (2, 3, H, W) float32 normalised.
        rowcol: (2, M, 2) float32 (row, column) of the same M scene points in either view, integers
            are pixel centres.
    """

    views: Tensor
    rowcol: Tensor


@dataclass
class ViewBatch:
    """Collated `TwoViews`.

    Attributes:
        views: (2, B, 3, H, W) float32 normalised: first views, then second views.
        image: (P,) int64 image of each matched point.
        rowcol: (2, P, 2) float32 its (row, column) in the first and in the second view.
    """

    views: Tensor
    image: Tensor
    rowcol: Tensor

    @property
    def batch_size(self) -> int:
        """Images B."""
        return self.views.shape[1]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ViewBatch:
        """The same batch with all tensors on ``device``."""
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=non_blocking)
            for f in fields(self)
        }
        return replace(self, **moved)


def collate_views(samples: Sequence[TwoViews]) -> dict[str, ViewBatch]:
    """Stack samples: ``dict(inputs=ViewBatch)``, as mmengine's train loop passes it on."""
    points = [sample.rowcol.shape[1] for sample in samples]
    batch = ViewBatch(
        views=torch.stack([sample.views for sample in samples], dim=1),
        image=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(points)),
        rowcol=torch.cat([sample.rowcol for sample in samples], dim=1),
    )
    return {"inputs": batch}


@DATASETS.register_module()
class ImageCrops(BaseDataset):
    """All camera images of an info file; a sample is two augmented crops of one image.

    ``dataset[3]`` and ``dataset[Draw(3, seed)]`` show the same image; the seed decides crops,
    colours and points. No label is read.

    Args:
        ann_file: Info file; a relative path is looked for in ``data_root``.
        data_root: Folder of the dataset.
        size: (H, W) of a view.
        area: Range of a crop's share of the image area.
        ratio: Range of a crop's width / height.
        points: Matched points M per image.
        min_overlap: Least share of the smaller crop that both must show.
        jitter: Colour changes, drawn for each view on its own.
        cameras: Names of the cameras to use; None takes all.
        lazy_init: Read the info file when it is first needed.
    """

    def __init__(
        self,
        ann_file: str | Path,
        data_root: str | Path,
        size: tuple[int, int] = (96, 160),
        area: tuple[float, float] = (0.15, 0.8),
        ratio: tuple[float, float] = (1.3, 2.0),
        points: int = 64,
        min_overlap: float = 0.2,
        jitter: ColourJitter | dict[str, Any] | None = None,
        cameras: Sequence[str] | None = None,
        lazy_init: bool = False,
    ) -> None:
        self.root, self.cameras = Path(data_root), cameras
        self.size = (int(size[0]), int(size[1]))
        self.area, self.ratio = (area[0], area[1]), (ratio[0], ratio[1])
        self.points, self.min_overlap = points, min_overlap
        self.jitter = jitter if isinstance(jitter, ColourJitter) else ColourJitter(**(jitter or {}))
        path = Path(ann_file)
        super().__init__(
            ann_file=str(path if path.is_absolute() or path.is_file() else self.root / path),
            data_root="",
            pipeline=[],
            lazy_init=lazy_init,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry an image; called once by mmengine."""
        infos = load_infos(self.ann_file, need=("images",))
        self._metainfo.update(infos.metainfo)
        locate = InfoPaths(self.root, infos.metainfo)
        entries = [
            {
                "path": str(locate(info["images"][name]["img_path"], name)),
                "token": frame_token(info),
            }
            for info in infos.frames
            for name in camera_names(info, self.cameras)
        ]
        if not entries:
            raise io.DataError(
                "This method needs camera images, but no frame of this info file names one.",
                path=self.ann_file,
                fix="use data with cameras; if these have some, put their images in place and make "
                "the info file again (lidistill create_data --restart, or your own script).",
            )
        return entries

    def __getitem__(self, key: Any) -> TwoViews:
        """Two views of the image of an index or of a `Draw`."""
        index, seed = (key.index, key.seed) if hasattr(key, "seed") else (int(key), [int(key)])
        if not self._fully_initialized:
            self.full_init()
        entry = self.get_data_info(index)
        image = decode_image(Path(entry["path"]), entry["token"], FIX_IMAGE)
        return self.two_views(image, np.random.default_rng(seed), entry)

    def two_views(
        self, image: NDArray[np.uint8], rng: np.random.Generator, entry: dict[str, Any]
    ) -> TwoViews:
        """Crop, colour and match one (H, W, 3) uint8 image."""
        height, width = image.shape[:2]
        if height < 8 or width < 8:
            raise io.DataError(
                f"Expected an image of at least 8 x 8 pixels, got {height} x {width}.",
                path=entry["path"],
                token=entry["token"],
                fix=FIX_IMAGE,
            )
        first = random_box(rng, height, width, self.area, self.ratio)
        second = self._overlapping(first, rng, height, width)
        points = self._points_in_both(first, second, rng)
        views, positions = zip(
            *(self._view(image, box, points, rng) for box in (first, second)), strict=True
        )
        return TwoViews(
            torch.from_numpy(np.stack(views)), torch.from_numpy(np.stack(positions)).float()
        )

    def _overlapping(
        self, first: Box, rng: np.random.Generator, height: int, width: int, tries: int = 20
    ) -> Box:
        """A second crop that shares enough with the first; the first itself if none is found."""
        for _ in range(tries):
            second = random_box(rng, height, width, self.area, self.ratio)
            _, _, rows, columns = overlap(first, second)
            smaller = min(first[2] * first[3], second[2] * second[3])
            if rows * columns > self.min_overlap * smaller:
                return second
        return first

    def _points_in_both(
        self, first: Box, second: Box, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """(M, 2) random (u, v) positions in the source image that both crops show."""
        top, left, rows, columns = overlap(first, second)
        v = rng.uniform(top, top + rows - 1, self.points)
        u = rng.uniform(left, left + columns - 1, self.points)
        return np.stack([u, v], axis=1)

    def _view(
        self,
        image: NDArray[np.uint8],
        box: Box,
        points: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """One crop (3, H, W), normalised, and the points' (row, column) in it."""
        top, left, height, width = box
        crop = cv2.resize(image[top : top + height, left : left + width], self.size[::-1])
        affine = crop_resize_affine(box, self.size)
        if rng.random() < 0.5:
            crop, affine = crop[:, ::-1], flip_affine(self.size[1]) @ affine
        values = (self.jitter(np.asarray(crop, dtype=np.uint8), rng) - MEAN) / STD
        u, v = (points @ affine[:2, :2].T + affine[:2, 2]).T
        rowcol = np.stack([v.clip(0, self.size[0] - 1), u.clip(0, self.size[1] - 1)], axis=1)
        return np.ascontiguousarray(values.transpose(2, 0, 1)), rowcol


def overlap(first: Box, second: Box) -> Box:
    """Intersection (top, left, height, width) of two boxes; height or width 0 where apart."""
    top, left = max(first[0], second[0]), max(first[1], second[1])
    bottom = min(first[0] + first[2], second[0] + second[2])
    right = min(first[1] + first[3], second[1] + second[3])
    return top, left, max(0, bottom - top), max(0, right - left)
