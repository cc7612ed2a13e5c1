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


def main(root, picture, index=0):
    """Write one frame's cameras with their points; returns the number of pairs by camera."""
    steps = [LoadPoints(), LoadImages(), PairPoints(empty_camera="keep")]
    frame = ImageLidarPairs("lidistill_infos_train.pkl", root, steps)[index]
    colours = scalar_colours(np.linalg.norm(frame.points[:, :2], axis=1), 2, 50)
    sheets, counts = [], {}
    for number, camera in enumerate(frame.cameras):
        mine = frame.pairs.where(frame.pairs.camera == number)
        drawn = draw_points(camera.image, mine.pixel_uv, colours[mine.point], radius=1)
        sheets.append(cv2.resize(drawn, (800, 450)))
        counts[camera.name] = len(mine)
    sheet = contact_sheet(sheets, columns=3)
    cv2.imwrite(str(picture), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return counts


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), sys.argv[2], int((*sys.argv, 0)[3]))}\n")
