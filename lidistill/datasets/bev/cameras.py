# SPDX-License-Identifier: Apache-2.0
"""Images of all cameras and their matrices: loading, and augmentation that both of them follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.info_paths import frame_token
from lidistill.datasets.bev.pack import DEPTHS
from lidistill.io.decode import decode_image
from lidistill.registry import TRANSFORMS

CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
FIX = (
    "check data_root and data_prefix of the config, extract the images again, or train without "
    "this camera with missing='blank'."
)
Image = NDArray[np.uint8]


@TRANSFORMS.register_module()
class LoadCameras:
    """Read the images of a sample, and those of earlier keyframes where the data set names them.

    Fills ``img``: a list of (H, W, 3) uint8 RGB images, the present ones first, in the order of
    ``cameras``; ``cam2img``, ``lidar2cam``, ``img_aug_matrix`` (N, 4, 4) and ``cam_present`` (N,),
    for the present in the sample, for an earlier moment in its entry of ``history``.

    Args:
        cameras: names in the info file; every sample gives as many.
        missing: a camera without image is an ``"error"``, or ``"blank"``: black and marked, so that
            nothing of it reaches the bird's-eye view.
        history: earlier keyframes to read, see
            :func:`lidistill.datasets.bev.frames.nuscenes_frames`.
        resized: the images were made smaller after calibration: their size may differ from the info
            file's, and the matrices are scaled. Without it, that is an error.
    """

    def __init__(
        self,
        cameras: Sequence[str] = CAMERAS,
        missing: str = "error",
        history: int = 0,
        resized: bool = False,
    ) -> None:
        if missing not in ("error", "blank"):
            raise ValueError(f"missing: expected 'error' or 'blank', got {missing!r}")
        self.cameras, self.missing = tuple(cameras), missing
        self.history, self.resized = history, resized

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill the sample.

        Raises:
            DataError: a camera that is missing, an image that cannot be read or is of another size.
        """
        token = frame_token(results)
        images, matrices = self._moment(results["images"], token)
        results.update(matrices, img=images, cam_names=self.cameras)
        moments = list(results.get("history", ()))[: self.history]
        if len(moments) < self.history:
            raise io.DataError(
                f"LoadCameras wants {self.history} earlier keyframes, the data set gives "
                f"{len(moments)}.",
                token=token,
                fix="use nuscenes_frames with history of the same number as data set.",
            )
        results["history"] = []
        for moment in moments:
            earlier, matrices = self._moment(moment["images"], token)
            results["img"] += earlier
            results["history"].append({**matrices, "from_present": moment["from_present"]})
        return results

    def _moment(
        self, views: Mapping[str, Mapping[str, Any]], token: str
    ) -> tuple[list[Image], dict[str, Any]]:
        images: list[Image | None] = []
        intrinsics, poses, scales = [], [], []
        for name in self.cameras:
            view = views.get(name)
            image = self._read(name, view, views, token)
            images.append(image)
            intrinsics.append(_square(view["cam2img"]) if view else np.eye(4))
            poses.append(_square(view["lidar2cam"]) if view else np.eye(4))
            scales.append(np.eye(4) if image is None or not view else self._scale(image, view))
        known = next((image.shape for image in images if image is not None), (1, 1, 3))
        return [np.zeros(known, np.uint8) if image is None else image for image in images], {
            "cam2img": np.stack(intrinsics),
            "lidar2cam": np.stack(poses),
            "img_aug_matrix": np.stack(scales),
            "cam_present": np.array([image is not None for image in images]),
        }

    def _read(
        self, name: str, view: Mapping[str, Any] | None, views: Mapping[str, Any], token: str
    ) -> Image | None:
        path = Path(view["img_path"]) if view and view.get("img_path") else None
        if path is None or (self.missing == "blank" and not path.is_file()):
            if self.missing == "blank":
                return None
            raise io.DataError(
                f"No image of {name}; the info file has {', '.join(sorted(views)) or 'none'}.",
                path=path,
                token=token,
                fix="name the cameras that there are in LoadCameras(cameras=...), or go on without "
                "with missing='blank'.",
            )
        return decode_image(path, token, FIX)

    def _scale(self, image: Image, view: Mapping[str, Any]) -> NDArray[np.float64]:
        """Stored pixels from those of the calibration."""
        height, width = image.shape[:2]
        wanted = int(view.get("height") or height), int(view.get("width") or width)
        if wanted == (height, width):
            return np.eye(4)
        if not self.resized:
            raise io.DataError(
                f"The info file says {wanted[1]} x {wanted[0]} pixels, the image has "
                f"{width} x {height}: its calibration does not fit.",
                path=view["img_path"],
                fix="of images that were made smaller after calibration, set "
                "LoadCameras(resized=True); else restore the original image, or make the info "
                "file again with the files' sizes (lidistill create_data --restart, or your own "
                "script).",
            )
        return resize_matrix(width / wanted[1], height / wanted[0])


def _square(matrix: Any) -> NDArray[np.float64]:
    """A (3, 3), (3, 4) or (4, 4) matrix as (4, 4)."""
    given = np.asarray(matrix, dtype=np.float64)
    full = np.eye(4)
    full[: given.shape[0], : given.shape[1]] = given
    return full


def resize_matrix(across: float, down: float) -> NDArray[np.float64]:
    """4x4 of an image made ``across`` times as wide and ``down`` times as high.

    Pixel edges, not centres, keep their place: ``u' + 0.5 = across (u + 0.5)``.
    """
    return affine_matrix(
        np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]], dtype=np.float64)
    )


def affine_matrix(affine: NDArray) -> NDArray[np.float64]:
    """4x4 that does to (u d, v d, d, 1) what the (2, 3) does to (u, v, 1)."""
    full = np.eye(4)
    full[:2, :3] = affine
    return full


@TRANSFORMS.register_module()
class AugmentImages:
    """Resize, crop, mirror and turn every image; the matrices follow. All come out in one size.

    Without ranges it does what a test needs: resize until the image covers ``size``, cut off above
    (sky) and equally left and right.

    Args:
        size: (rows, columns) that the network sees.
        resize: (low, high) factor; None = what just covers ``size``. Factors are of images of
            ``resize_width`` columns.
        resize_width: columns of the images that ``resize`` is meant for; None: of any.
        rotate: degrees; drawn from [-rotate, rotate].
        flip: share of images that are mirrored.
        cut_below: (low, high) share of the resized image's height cut off below.

    Source: the image augmentation of BEVDet and BEVDepth, UniDistill's too (resize 0.386 to 0.55,
    5.4 degrees).
    """

    def __init__(
        self,
        size: tuple[int, int],
        resize: tuple[float, float] | None = None,
        resize_width: int | None = None,
        rotate: float = 0.0,
        flip: float = 0.0,
        cut_below: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.resize, self.resize_width = resize, resize_width
        self.rotate, self.flip, self.cut_below = rotate, flip, cut_below

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``img`` and ``img_aug_matrix``; a camera's earlier images like its present one.

        Raises:
            ValueError: depths of the images as they were are there already.
        """
        made = [key for key in (*DEPTHS, "depth_image") if key in results]
        if made:
            raise ValueError(
                f"{', '.join(made)} would not follow the images; put AugmentImages before the "
                "steps that make depths"
            )
        moments = [results, *results.get("history", ())]
        count = len(results["img"]) // len(moments)
        for camera in range(count):
            draw = self._draw()
            for step, moment in enumerate(moments):
                row = step * count + camera
                image, matrix = self._augment(results["img"][row], *draw)
                results["img"][row] = image
                moment["img_aug_matrix"][camera] = matrix @ moment["img_aug_matrix"][camera]
        results["img_shape"] = self.size
        return results

    def _draw(self) -> tuple[float | None, float, bool, float, float]:
        """Factor, degrees, mirrored, share cut off below, place across; of numpy's generator."""
        uniform = np.random.uniform
        return (
            None if self.resize is None else float(uniform(*self.resize)),
            float(uniform(-self.rotate, self.rotate)) if self.rotate else 0.0,
            bool(uniform() < self.flip) if self.flip else False,
            float(uniform(*self.cut_below)),
            0.5 if self.resize is None else float(uniform()),
        )

    def _augment(
        self, image: Image, factor: float | None, degrees: float, mirrored: bool, below: float,
        across: float,
    ) -> tuple[Image, NDArray[np.float64]]:  # fmt: skip
        import cv2

        height, width = image.shape[:2]
        rows, columns = self.size
        if factor is None:
            factor = max(rows / height, columns / width)
        elif self.resize_width is not None:
            factor *= self.resize_width / width
        new_w, new_h = max(1, round(width * factor)), max(1, round(height * factor))
        shrinks = new_w < width
        resized = cv2.resize(
            image, (new_w, new_h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        top = round((1 - below) * new_h) - rows
        left = round(across * max(0, new_w - columns)) + min(0, (new_w - columns) // 2)
        affine = np.array([[1.0, 0, -left], [0, 1.0, -top]])
        if mirrored:
            affine = np.array([[-1.0, 0, columns - 1 + left], [0, 1.0, -top]])
        if degrees:
            turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
            affine = turn @ np.vstack([affine, [0, 0, 1]])
        done = cv2.warpAffine(resized, affine, (columns, rows), flags=cv2.INTER_LINEAR)
        matrix = affine_matrix(affine) @ resize_matrix(new_w / width, new_h / height)
        return np.asarray(done, dtype=np.uint8), matrix
