# SPDX-License-Identifier: Apache-2.0
"""Trials of KITTI and SemanticKITTI."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.datasets.loading import LoadPoints
from lidistill.datasets.scan_transforms import LoadSemanticKittiLabels
from lidistill.datasets.scans import LidarScans
from lidistill.io import read_image
from tests.converters.fake_kitti import write_fake_kitti
from tests.converters.fake_semantic_kitti import write_fake_semantic_kitti
from tests.robustness.mutate_form import (
    FREE,
    OPTIONAL,
    RAW,
    ROWS,
    WORDS,
    Format,
    contents_of,
    fresh,
    why,
)
from tests.robustness.mutate_kinds import ANY, JSON, TEXT, image, labels, points


# -- KITTI ---------------------------------------------------------------------------------------
def kitti(root: Path) -> None:
    write_fake_kitti(root, training=4, testing=1)
    for cloud in root.glob("*/velodyne/*.bin"):
        cloud.write_bytes(cloud.read_bytes()[: 16 * 300])
    photo = root / "training/image_2/000001.png"
    Image.open(photo).save(photo.with_suffix(".jpg"))
    photo.unlink()
    (root / "SYNTHETIC").touch()
    (root / "devkit/mapping").mkdir(parents=True)
    rows = "".join(f"2011_09_26 2011_09_26_drive_{n // 2:04d}_sync {n:010d}\n" for n in range(4))
    (root / "devkit/mapping/train_mapping.txt").write_text(rows)
    (root / "devkit/mapping/train_rand.txt").write_text("1,2,3,4\n")
    (root / "tracking/training/label_02").mkdir(parents=True)
    for frame in (0, 1, 2):
        names = [
            line.split()[0]
            for line in (root / f"training/label_2/{frame:06d}.txt").read_text().splitlines()
        ]
        tracks = root / f"tracking/training/label_02/{frame // 2:04d}.txt"
        with tracks.open("a") as stream:
            stream.writelines(
                f"{frame} {-1 if name == 'DontCare' else at} {name} 0 0 -10 0 0 1 1\n"
                for at, name in enumerate(names)
            )


def read_kitti(root: Path, images: bool = False) -> Any:
    found = contents_of(convert_kitti(root, fresh(root), with_plane=True))
    if images:
        found["pixels"] = [read_image(path) for path in sorted(root.glob("training/image_2/*"))]
    return found


_LABELS = {
    r"instances|contents": "what the objects of a frame give",
}
KITTI = (
    Format(
        "kitti.calib",
        kitti,
        "*/calib/*.txt",
        read_kitti,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut", "longer")
        | why(OPTIONAL, "line gone", "wrong type", "wrong width", "NaN", "absurd value"),
        {
            r"CAM[013]|Tr_imu|contents|images[.][*]": "P0, P1 and P3 may be left out",
            r"lidar_points[.][*]": "Tr_imu_to_velo may be left out",
            r"instances": "boxes are drawn and counted by the calibration",
        },
    ),
    Format(
        "kitti.label",
        kitti,
        "training/label_2/*.txt",
        read_kitti,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut")
        | why(ROWS, "line gone", "line twice", "longer", "empty", "cut"),
        _LABELS,
    ),
    Format(
        "kitti.imagesets",
        kitti,
        "ImageSets/*.txt",
        read_kitti,
        ANY | TEXT,
        why(
            ROWS,
            "line gone",
            "cut",
            "flipped bits",
            "another value",
            "missing",
            "longer",
            "wrong width",
        ),
        FREE,
    ),
    Format(
        "kitti.planes",
        kitti,
        "training/planes/*.txt",
        read_kitti,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut"),
    ),
    Format(
        "kitti.mapping",
        kitti,
        "devkit/mapping/*.txt",
        read_kitti,
        ANY | TEXT,
        why(OPTIONAL, "missing")
        | why(WORDS, "flipped bits", "another value", "cut", "wrong type", "NaN", "absurd value"),
        {
            r"raw_drive|raw_frame|track_id": "origin and tracks may be unknown",
            r"(data_list|instances)\[\d+\][.][*]": "so their keys may be absent",
        },
    ),
    Format(
        "kitti.tracking",
        kitti,
        "tracking/training/label_02/*.txt",
        read_kitti,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value") | why(OPTIONAL, "missing", "empty"),
        {r"track_id|instances\[\d+\][.][*]": "tracks may be unknown"},
    ),
    Format(
        "kitti.png",
        kitti,
        "training/image_2/*.png",
        partial(read_kitti, images=True),
        ANY | image("PNG"),
        why("an image of another size", "wrong shape"),
        {r"pixels|height|width|instances|contents": "of that image"},
    ),
    Format(
        "kitti.jpg",
        kitti,
        "training/image_2/*.jpg",
        partial(read_kitti, images=True),
        ANY | image("JPEG"),
        why("JPEG has no check sums", "flipped bits", "zeros", "wrong shape", "cut"),
        {r"pixels|height|width|instances|contents": "of that image"},
    ),
    Format(
        "kitti.bin",
        kitti,
        "*/velodyne/*.bin",
        read_kitti,
        ANY | points(4),
        why(RAW, "flipped bits", "cut", "zeros", "longer"),
        {"num_lidar_pts|contents": "points are counted"},
    ),
)


# -- SemanticKITTI -------------------------------------------------------------------------------
def semantic(root: Path) -> None:
    write_fake_semantic_kitti(root, scans=2)


def read_semantic(root: Path) -> Any:
    written = convert_semantic_kitti(root, fresh(root))
    frames = []
    for split, path in written.items():
        steps = [LoadPoints()] + ([LoadSemanticKittiLabels()] if split != "test" else [])
        scans = LidarScans(ann_file=path, data_root=root, pipeline=steps)
        frames += [
            [scan.points, scan.point_labels] for scan in map(scans.__getitem__, range(len(scans)))
        ]
    return contents_of(written), frames


SEMANTIC_KITTI = (
    Format(
        "semantickitti.bin",
        semantic,
        "sequences/*/velodyne/*.bin",
        read_semantic,
        ANY | points(4),
        why(RAW, "flipped bits", "cut", "zeros", "longer"),
        {"contents": "what the points give", r"^\[1\]": "as many points as bytes"},
    ),
    Format(
        "semantickitti.label",
        semantic,
        "sequences/*/labels/*.label",
        read_semantic,
        ANY | labels("<u4"),
        why(RAW, "flipped bits", "zeros", "absurd value"),
        {"contents": "classes are counted"},
    ),
    Format(
        "semantickitti.calib",
        semantic,
        "sequences/*/calib.txt",
        read_semantic,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut") | why(OPTIONAL, "missing"),
        {r"first_from_lidar|data_list.*[*]": "poses may be left out"},
    ),
    Format(
        "semantickitti.poses",
        semantic,
        "sequences/*/poses.txt",
        read_semantic,
        ANY | TEXT,
        why(RAW, "flipped bits", "another value", "cut") | why(OPTIONAL, "missing"),
        {"first_from_lidar|data_list.*[*]": "poses may be left out"},
    ),
    Format(
        "semantickitti.splits",
        semantic,
        "splits.json",
        read_semantic,
        ANY | JSON,
        why(ROWS, "missing key", "flipped bits", "wrong type") | why(OPTIONAL, "missing"),
        FREE,
    ),
)
