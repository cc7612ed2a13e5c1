# SPDX-License-Identifier: Apache-2.0
"""Pictures over camera images: superpixels, points coloured by what they are paired with."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lidistill.datasets.frame import CameraView, Frame
from lidistill.geometry.correspondence import Pairs
from lidistill.io import NO_REGION
from lidistill.visualization.colours import region_colours

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""


def enlarge(image: Image, scale: int) -> Image:
    """An image ``scale`` times as large, so that thin lines over it stay thin."""
    size = (image.shape[1] * scale, image.shape[0] * scale)
    larger = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(larger, dtype=np.uint8)


def border_mask(superpixels: NDArray, scale: int = 1) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour belongs to another superpixel.

    Args:
        superpixels: (H, W) integers.
        scale: enlarges the map first.

    Returns:
        (H * scale, W * scale) bool.
    """
    superpixels = superpixels.repeat(scale, axis=0).repeat(scale, axis=1)
    mask = np.zeros(superpixels.shape, dtype=bool)
    mask[:, :-1] |= superpixels[:, :-1] != superpixels[:, 1:]
    mask[:-1] |= superpixels[:-1] != superpixels[1:]
    return mask


def superpixel_borders(
    image: Image,
    superpixels: NDArray,
    colour: tuple[int, int, int] = (255, 255, 255),
    opacity: float = 0.75,
    scale: int = 1,
) -> Image:
    """Draw the borders of superpixels over an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        superpixels: (H, W) integers.
        colour: of the borders.
        opacity: of the borders.
        scale: enlarges the picture first; borders stay one pixel wide.

    Returns:
        (H * scale, W * scale, 3) uint8.
    """
    _check_same_size(image, superpixels)
    picture = enlarge(image, scale).astype(np.float32)
    mask = border_mask(superpixels, scale)
    picture[mask] = (1 - opacity) * picture[mask] + opacity * np.array(colour, dtype=np.float32)
    return picture.round().astype(np.uint8)


def superpixel_means(image: Image, superpixels: NDArray) -> Image:
    """Paint each superpixel in its mean colour: all that a colour teacher would say of it."""
    _check_same_size(image, superpixels)
    _, dense = np.unique(superpixels, return_inverse=True)
    dense = dense.reshape(-1)
    counts = np.bincount(dense)
    sums = [np.bincount(dense, weights=image[..., c].reshape(-1)) for c in range(3)]
    means = (np.stack(sums, axis=1) / counts[:, None]).round().astype(np.uint8)
    return means[dense].reshape(image.shape)


def draw_points(image: Image, pixel_uv: NDArray, colours: NDArray, radius: float = 2.0) -> Image:
    """Draw filled, antialiased discs over an image.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        pixel_uv: (P, 2) u right, v down, integers are pixel centres; later rows lie on top.
        colours: (P, 3) uint8 RGB.
        radius: pixels.

    Returns:
        (H, W, 3) uint8.
    """
    if len(pixel_uv) != len(colours):
        raise ValueError(f"{len(pixel_uv)} pixels but {len(colours)} colours; one of each a point")
    picture = np.ascontiguousarray(image).copy()
    bits = 4  # cv2 takes fixed-point coordinates
    fixed = np.round(np.asarray(pixel_uv, dtype=np.float64) * 2**bits).astype(int)
    size = round(radius * 2**bits)
    for (u, v), colour in zip(fixed.tolist(), np.asarray(colours).tolist(), strict=True):
        cv2.circle(picture, (u, v), size, colour, cv2.FILLED, cv2.LINE_AA, bits)
    return picture


def superpixel_picture(view: CameraView, scale: int = 2) -> Image:
    """One camera's image under the borders of its superpixels."""
    image, superpixels = _loaded(view)
    return superpixel_borders(image, superpixels, scale=scale)


def paired_picture(frame: Frame, camera: int, scale: int = 2, dim: float = 0.55) -> Image:
    """One camera's image, dimmed, under its points in the colours of their superpixels.

    Args:
        frame: with images, superpixels and pairs.
        camera: index into ``frame.cameras``.
        scale: enlarges the picture.
        dim: how much of the image's light is taken away.

    Returns:
        (H * scale, W * scale, 3) uint8.
    """
    view = frame.cameras[camera]
    image, superpixels = _loaded(view)
    pairs = frame.need_pairs()
    chosen = pairs.camera == camera
    colours = region_colours(_regions_at(pairs, chosen, superpixels))
    picture = (enlarge(image, scale) * (1 - dim)).astype(np.uint8)
    mask = border_mask(superpixels, scale)
    picture[mask] = (picture[mask] * 0.5 + 60).astype(np.uint8)
    uv = (pairs.pixel_uv[chosen] + 0.5) * scale - 0.5
    return draw_points(picture, uv, colours, radius=max(1.3, 0.9 * scale))


def paired_regions(frame: Frame) -> NDArray[np.int64]:
    """Superpixel that each point is paired with, numbered through all cameras.

    Returns:
        (N,) int64; -1 for points that no camera sees, or in no superpixel. Of two cameras the
        later one counts.
    """
    pairs = frame.need_pairs()
    regions = np.full(len(frame.points), -1, dtype=np.int64)
    first = 0
    for camera, view in enumerate(frame.cameras):
        _, superpixels = _loaded(view)
        chosen = pairs.camera == camera
        found = _regions_at(pairs, chosen, superpixels)
        regions[pairs.point[chosen]] = np.where(found < 0, -1, first + found)
        first += int(superpixels.max()) + 1
    return regions


def contact_sheet(
    images: Sequence[Image],
    columns: int,
    gap: int = 8,
    background: tuple[int, int, int] = (0, 0, 0),
) -> Image:
    """Lay images of one size out in a grid, row by row.

    Args:
        images: at least one.
        columns: of the grid.
        gap: pixels between them.
        background: colour of gaps and of empty places.
    """
    if not images or len({image.shape for image in images}) > 1:
        raise ValueError(f"expected images of one size, got {[image.shape for image in images]}")
    height, width = images[0].shape[:2]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(size, background, dtype=np.uint8)
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def before_after(before: Image, after: Image, gap: int = 8) -> Image:
    """Two pictures of one scene side by side; the second is brought to the first one's height."""
    height = before.shape[0]
    if after.shape[0] != height:
        width = round(after.shape[1] * height / after.shape[0])
        resized = cv2.resize(after, (width, height), interpolation=cv2.INTER_AREA)
        after = np.asarray(resized, dtype=np.uint8)
    bar = np.zeros((height, gap, 3), dtype=np.uint8)
    return np.concatenate([before, bar, after], axis=1)


def _loaded(view: CameraView) -> tuple[Image, NDArray]:
    if view.image is None or view.superpixels is None:
        raise ValueError(
            f"camera {view.name} has no image or no superpixels yet; "
            "put LoadImages() and LoadSuperpixels() into the pipeline"
        )
    return view.image, view.superpixels


def _regions_at(pairs: Pairs, chosen: NDArray[np.bool_], superpixels: NDArray) -> NDArray[np.int64]:
    """Superpixel of each chosen pair; -1 in none."""
    rows, columns = pairs.rowcol()[chosen].T
    found = superpixels[rows, columns].astype(np.int64)
    return np.where(found == NO_REGION, -1, found)


def _check_same_size(image: Image, superpixels: NDArray) -> None:
    if image.shape[:2] != superpixels.shape:
        raise ValueError(
            f"image {image.shape[:2]} and superpixels {superpixels.shape} differ in size; "
            "were the superpixels made from other images?"
        )
