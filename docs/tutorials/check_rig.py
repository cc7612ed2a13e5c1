# SPDX-License-Identifier: Apache-2.0
"""Draw what is paired: python check_rig.py FOLDER PICTURE [INDEX]. Red is far, blue is near."""

import sys
from pathlib import Path

import cv2
import numpy as np

from lidistill.datasets.loading import LoadImages, LoadPoints, PairPoints
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.visualization.colours import scalar_colours
from lidistill.visualization.overlays import contact_sheet, draw_points


def fit(image, pixel_uv, colours, height=450, width=800):
    """An image of any size in a sheet's cell, in its own proportions, with points on it."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    cell = np.zeros((height, width, 3), np.uint8)
    cell[: size[1], : size[0]] = draw_points(small, (pixel_uv + 0.5) * scale - 0.5, colours)
    return cell


def main(root, picture, index=0):
    """Write one frame's cameras with their points; returns the number of pairs by camera."""
    steps = [LoadPoints(), LoadImages(), PairPoints(empty_camera="keep")]
    frame = ImageLidarPairs("lidistill_infos_train.pkl", root, steps)[index]
    colours = scalar_colours(np.linalg.norm(frame.points[:, :2], axis=1), 2, 50)
    sheets, counts = [], {}
    for number, camera in enumerate(frame.cameras):
        mine = frame.pairs.where(frame.pairs.camera == number)
        sheets.append(fit(camera.image, mine.pixel_uv, colours[mine.point]))
        counts[camera.name] = len(mine)
    sheet = contact_sheet(sheets, columns=3)
    cv2.imwrite(str(picture), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return counts


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), sys.argv[2], int((*sys.argv, 0)[3]))}\n")
