# SPDX-License-Identifier: Apache-2.0
"""``lidistill depth_maps``: a depth map of every image of an info file, from its LiDAR scan."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill import __version__

HELP = "depth maps of images from LiDAR scans: sparse or filled up, PNG of 16 bits as KITTI's"
TOOL = "lidistill depth_maps"


@dataclass(frozen=True)
class Job:
    """One map.

    Attributes:
        token: of the frame.
        points: file.
        columns: float32 values a point.
        image: file; read only where a picture is drawn.
        image_hw: rows and columns.
        matrix: (4, 4) nested, pixels from LiDAR.
        form: ``sparse`` or ``dense``.
        out: of the map.
        picture: file to draw it into, or None.
    """

    token: str
    points: Path
    columns: int
    image: Path
    image_hw: tuple[int, int]
    matrix: list[list[float]]
    form: str
    out: Path
    picture: Path | None

    @property
    def made_of(self) -> str:
        """Of everything that decides the map."""
        from lidistill.converters.parts import stamp

        scan = self.points.name, stamp(self.points)
        words = repr((__version__, scan, self.columns, self.image_hw, self.matrix, self.form))
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    @property
    def done(self) -> bool:
        """Whether the map is there, made of the same, and its picture."""
        from lidistill.datasets.bev.depth_maps import made_of

        drawn = self.picture is None or self.picture.is_file()
        return drawn and made_of(self.out) == self.made_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("info", type=Path, help="info file of lidistill create_data")
    parser.add_argument("--root", type=Path, required=True, help="data root")
    parser.add_argument("--out", type=Path, required=True, help="folder of the maps")
    parser.add_argument("--sparse", action="store_true", help="leave the holes between points")
    parser.add_argument(
        "--cameras", action="extend", nargs="+", metavar="NAME", help="all that have an image"
    )
    parser.add_argument(
        "--pictures", type=int, default=0, metavar="N", help="draw the first N over their images"
    )
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")


def run(args: argparse.Namespace) -> int:
    """Make what is missing; a map that is there is kept where it was made of the same."""
    from rich.console import Console

    from lidistill.converters.infos import load_infos
    from lidistill.io import DataError, manifest_path, parallel, read_manifest, write_manifest

    infos = load_infos(args.info, need=("lidar_points", "images"))
    jobs = plan(infos, args)
    parameters = {"form": form_of(args), "camera": _camera(infos, args)}
    args.out.mkdir(parents=True, exist_ok=True)
    if manifest_path(args.out).is_file():
        before = {**parameters, **read_manifest(args.out)["parameters"]}
        if before != parameters:
            raise DataError(
                f"The maps here are {_words(before)}, {_words(parameters)} ones are asked for.",
                path=args.out,
                fix="name another folder with --out, or remove this one.",
            )
    write_manifest(args.out, TOOL, parameters, len(jobs), str(args.info))
    todo = [job for job in jobs if not job.done]
    known = list(parallel(make, todo, args.jobs, "loky", "Depth maps"))
    share = f"; {100 * sum(known) / len(known):.1f} % of pixels known" if known else ""
    Console(soft_wrap=True).print(f"{len(jobs)} maps in {args.out}, {len(todo)} made now{share}")
    return 0


def plan(infos: Any, args: argparse.Namespace) -> list[Job]:
    """One job an image."""
    from lidistill.converters.info_paths import InfoPaths, camera_names, frame_token
    from lidistill.datasets.bev.depth_maps import depth_path
    from lidistill.io import DataError, plain_name

    locate = InfoPaths(args.root, infos.metainfo)
    several = _camera(infos, args) is None
    jobs: list[Job] = []
    owners: dict[Path, Path] = {}
    for frame in infos.frames:
        names = camera_names(frame, args.cameras)
        token = plain_name(frame_token(frame), "token of a frame")
        for name in names:
            image, lidar = frame["images"][name], frame["lidar_points"]
            drawn = args.out / "pictures" / f"{name}_{token}.jpg"
            out = depth_path(args.out, token, name, several)
            points = locate(lidar["lidar_path"], "pts")
            other = owners.setdefault(out, points)
            if other != points:
                raise DataError(
                    f"Two frames would have one depth map: {other} and {points}.",
                    path=args.info,
                    token=token,
                    fix="give the frames of the info file tokens of their own.",
                )
            jobs.append(
                Job(
                    token=token,
                    points=points,
                    columns=int(lidar["num_pts_feats"]),
                    image=locate(image["img_path"], name),
                    image_hw=(int(image["height"]), int(image["width"])),
                    matrix=_matrix(image),
                    form=form_of(args),
                    out=out,
                    picture=drawn if len(jobs) < args.pictures else None,
                )
            )
    return jobs


def form_of(args: argparse.Namespace) -> str:
    """Sparse or dense."""
    return "sparse" if args.sparse else "dense"


def make(job: Job) -> float:
    """Make one map; the share of pixels that are known."""
    import numpy as np

    from lidistill.datasets.bev.depth_maps import dense_depth, sparse_depth, write_depth
    from lidistill.io import FILE_AGAIN, atomic_write, finite_points, read_image, read_points

    points = read_points(job.points, job.columns, job.token, FILE_AGAIN)
    xyz = np.ascontiguousarray(finite_points(points, job.points, job.token)[:, :3], np.float32)
    depth = sparse_depth(xyz, np.array(job.matrix), job.image_hw)
    depth = depth if job.form == "sparse" else dense_depth(depth)
    write_depth(job.out, depth, job.made_of)
    if job.picture is not None:
        from PIL import Image

        from lidistill.visualization.detections.depth_picture import depth_picture

        picture = depth_picture(read_image(job.image, job.token), depth)
        with atomic_write(job.picture) as temporary:
            Image.fromarray(picture).save(temporary, quality=90)
    return float((depth > 0).mean())


def _camera(infos: Any, args: argparse.Namespace) -> str | None:
    """The only camera that the maps are of; None for several, each with a folder of its own."""
    from lidistill.converters.info_paths import camera_names

    names = {name for frame in infos.frames for name in camera_names(frame, args.cameras)}
    return names.pop() if len(names) == 1 else None


def _words(parameters: Mapping[str, Any]) -> str:
    return f"{parameters['form']} of {parameters['camera'] or 'several cameras'}"


def _matrix(image: Any) -> list[list[float]]:
    """(4, 4) pixels from LiDAR; the whole of P2."""
    import numpy as np

    pixels = np.eye(4)
    given = np.asarray(image["cam2img"], dtype=np.float64)
    pixels[: given.shape[0], : given.shape[1]] = given
    product: list[list[float]] = (pixels @ np.asarray(image["lidar2cam"])).tolist()
    return product
