# SPDX-License-Identifier: Apache-2.0
"""``lidistill pairs``: look at what is paired, before anything is trained on it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lidistill.datasets.frame import CameraView, Frame
from lidistill.datasets.loading import LoadImages, LoadPoints, LoadSuperpixels, PairPoints
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.geometry.frames import compose, make_transform
from lidistill.io import plain_name
from lidistill.visualization.colours import scalar_colours
from lidistill.visualization.overlays import (
    Image,
    contact_sheet,
    draw_points,
    enlarge,
    superpixel_picture,
)

HELP = "draw images, superpixels and the points paired with them, and a wrong calibration beside"
WIDE = 1200  # pixels
NEAR, FAR = 3.0, 60.0  # metres: the ends of the colours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("infos", type=Path, help="info file of lidistill create_data")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--superpixels", type=Path, help="store of lidistill superpixels")
    parser.add_argument(
        "--frames", type=int, default=6, help="pictures at most: of each scene one, evenly spread"
    )
    parser.add_argument("--tokens", action="extend", nargs="+", help="these frames instead")
    parser.add_argument(
        "--turn",
        type=float,
        default=2.0,
        metavar="DEGREES",
        help="by which the wrong calibration is turned to the side; 0 leaves it out",
    )


def run(args: argparse.Namespace) -> int:
    """Draw."""
    dataset = ImageLidarPairs(
        ann_file=args.infos.resolve(),
        data_root=args.data_root,
        pipeline=[],
        superpixels_dir=args.superpixels,
    )
    rows = chosen_rows(dataset, args.frames, args.tokens)
    args.out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        frame = LoadImages()(LoadPoints()(dataset[row]))
        if args.superpixels is not None:
            frame = LoadSuperpixels()(frame)
        path = args.out / f"{plain_name(frame.token, 'token of a frame')}.jpg"
        _write(path, frame_picture(frame, args.turn))
        pairs = len(frame.need_pairs())
        share = f"{pairs:,} of {len(frame.points):,} points are paired"
        wrong = "" if pairs else "; is the calibration right?"
        sys.stdout.write(f"{path}: {share}{wrong}\n")
    return 0


def chosen_rows(
    dataset: ImageLidarPairs, count: int, tokens: Sequence[str] | None = None
) -> list[int]:
    """Rows of frames to draw.

    Args:
        dataset: of frames.
        count: at most so many; the middle frame of each scene, scenes evenly spread.
        tokens: names of frames, in place of that.

    Raises:
        ValueError: no frame has such a name, or none is asked for.
    """
    if count < 1:
        raise ValueError(f"expected --frames of 1 or more, got {count}")
    infos = [dataset.get_data_info(row) for row in range(len(dataset))]
    if tokens is not None:
        place = {str(info.get("token")): row for row, info in enumerate(infos)}
        lacking = [token for token in tokens if token not in place]
        if lacking:
            raise ValueError(f"no frame {', '.join(lacking)}; the first is {next(iter(place))}")
        return [place[token] for token in tokens]
    scenes: dict[str, list[int]] = {}
    for row, info in enumerate(infos):
        scenes.setdefault(str(info.get("scene_name", "")), []).append(row)
    middle = [rows[len(rows) // 2] for rows in scenes.values()]
    if len(middle) == 1:  # no scenes, or one: frames evenly spread
        middle = list(range(len(infos)))
    step = max(1.0, len(middle) / max(1, count))
    return [middle[int(step * k)] for k in range(min(count, len(middle)))]


def frame_picture(frame: Frame, turn: float = 2.0) -> Image:
    """Each camera in a column: superpixels, points by distance, and by a turned calibration.

    Args:
        frame: with points and images, and superpixels if there are any; pairs are made.
        turn: degrees to the side; 0 leaves the wrong calibration out.
    """
    PairPoints(empty_camera="keep")(frame)
    columns = []
    for index, camera in enumerate(frame.cameras):
        parts = [points_by_distance(frame, index)]
        if camera.superpixels is not None:
            parts.insert(0, superpixel_picture(camera, _scale(camera)))
        if turn:
            right = camera.camera_from_lidar
            camera.camera_from_lidar = compose(_turned(turn), right)
            known = frame.pairs
            PairPoints(empty_camera="keep")(frame)
            wrong = points_by_distance(frame, index)
            parts.append(_worded(wrong, f"wrong on purpose: camera turned by {turn:g} degrees"))
            camera.camera_from_lidar, frame.pairs = right, known
        columns.append(contact_sheet(parts, columns=1, gap=4))
    size = max(column.shape[0] for column in columns), max(c.shape[1] for c in columns)
    padded = [_padded(column, size) for column in columns]
    return contact_sheet(padded, columns=3, gap=8)


def points_by_distance(frame: Frame, camera: int, dim: float = 0.45) -> Image:
    """A camera's image, dimmed, under its points: near ones red, far ones blue."""
    view, pairs = frame.cameras[camera], frame.need_pairs()
    if view.image is None:
        raise ValueError(f"camera {view.name} has no image yet; put LoadImages() before")
    chosen = pairs.camera == camera
    distance = np.linalg.norm(frame.points[pairs.point[chosen], :3], axis=1)
    order = np.argsort(-distance)  # near ones on top
    scale = _scale(view)
    picture = (enlarge(view.image, scale) * (1 - dim)).astype(np.uint8)
    shown = -np.log(np.maximum(distance[order], NEAR))
    colours = scalar_colours(shown, -np.log(FAR), -np.log(NEAR))
    uv = (pairs.pixel_uv[chosen][order] + 0.5) * scale - 0.5
    return draw_points(picture, uv, colours, radius=1.2)


def _scale(view: CameraView) -> int:
    """Small images are drawn larger, or the points hide them."""
    return max(1, round(WIDE / view.width))


def _write(path: Path, picture: Image) -> None:
    if not cv2.imwrite(str(path), picture[..., ::-1]):
        raise OSError(f"could not write the picture {path}; is there room on the disk?")


def _turned(degrees: float) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    return make_transform(turn, np.zeros(3))


def _worded(image: Image, words: str) -> Image:
    size = max(0.35, image.shape[1] / 1600)
    place = (6, int(30 * size) + 6)
    cv2.putText(
        image, words, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA
    )
    return image


def _padded(image: Image, size: tuple[int, int]) -> Image:
    full = np.zeros((*size, 3), dtype=np.uint8)
    full[: image.shape[0], : image.shape[1]] = image
    return full
