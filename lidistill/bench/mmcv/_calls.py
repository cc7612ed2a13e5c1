# SPDX-License-Identifier: Apache-2.0
"""Calls of mmcv's ops at the sizes of detectors, the same over either extension.

Imported by `lidistill.bench.mmcv.compiled`; run as a script by an interpreter that has compiled
mmcv, where lidistill is not: each line of its standard input is a name, its answer the seconds of
processor time that one call took. It therefore needs mmcv, torch and numpy only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

SECOND = ((0.05, 0.05, 0.1), (0, -40, -3, 70.4, 40, 1))
PILLARS = ((0.16, 0.16, 4), (0, -39.68, -3, 69.12, 39.68, 1))
CENTERPOINT = ((0.1, 0.1, 0.2), (-51.2, -51.2, -5, 51.2, 51.2, 3))
Work = Callable[[], Any]


def scan(count: int, seed: int = 0) -> Tensor:
    """Points (N, 4) as a turning LiDAR finds them on flat ground and walls: denser near."""
    rng = np.random.default_rng(seed)
    azimuth = rng.uniform(-np.pi, np.pi, count)
    distance = np.minimum(1.7 / np.tan(np.deg2rad(rng.uniform(0.5, 24, count))), 70)
    wall = rng.random(count) < 0.4
    height = np.where(wall, rng.uniform(-1.7, 1, count), -1.7 + rng.normal(0, 0.02, count))
    distance = np.where(wall, 3 + 60 * rng.random(count) ** 2, distance)
    columns = (distance * np.cos(azimuth), distance * np.sin(azimuth), height, rng.random(count))
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32))


def works(scale: float = 1.0) -> dict[str, tuple[str, Callable[[], Work]]]:
    """Each call's input in words, and what makes the call; ``scale`` of the numbers of things."""
    many = lambda count: max(8, int(count * scale))  # noqa: E731
    return {
        **_voxelizations(many),
        **_boxes(many),
        **_regions(many),
        **_deformed(many),
    }


def _voxelizations(many: Callable[[int], int]) -> dict[str, tuple[str, Callable[[], Work]]]:
    def hard(grid: tuple, count: int, most: tuple[int, int]) -> Work:
        from mmcv.ops.voxelize import voxelization

        points = scan(count)
        return lambda: voxelization(points, list(grid[0]), list(grid[1]), *most)

    grids = {
        "SECOND": (SECOND, many(20_000), (5, 16_000)),
        "PointPillars": (PILLARS, many(20_000), (32, 16_000)),
        "CenterPoint": (CENTERPOINT, many(250_000), (10, 90_000)),
    }
    made: dict[str, tuple[str, Callable[[], Work]]] = {
        f"hard voxelization, {name}": (f"{setting[1]:,} points", partial(hard, *setting))
        for name, setting in grids.items()
    }
    made["dynamic voxelization"] = (
        f"{many(100_000):,} points",
        lambda: hard(CENTERPOINT, many(100_000), (-1, -1)),
    )
    return made


def _boxes(many: Callable[[int], int]) -> dict[str, tuple[str, Callable[[], Work]]]:
    def upright(count: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        low = torch.rand(count, 2, generator=generator) * 200
        size = torch.rand(count, 2, generator=generator) * 40 + 1
        return torch.cat([low, low + size], 1), torch.rand(count, generator=generator)

    def turned(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Proposals of cars: some hundred places, each found several times."""
        generator = torch.Generator().manual_seed(seed)
        places = torch.rand(count // 8 + 1, 2, generator=generator) * 100
        centre = places[torch.randint(len(places), (count,), generator=generator)]
        centre = centre + torch.randn(count, 2, generator=generator) * 0.5
        size = torch.tensor([4.0, 1.7]) + torch.rand(count, 2, generator=generator) * 0.4
        angle = torch.rand(count, 1, generator=generator) * 6 - 3
        return torch.cat([centre, size, angle], 1), torch.rand(count, generator=generator)

    def call(name: str, *arguments: Any, **options: Any) -> Work:
        from mmcv import ops

        return lambda: getattr(ops, name)(*arguments, **options)

    def points_in_boxes() -> Work:
        boxes = turned(30)[0]
        boxes = torch.cat([boxes[:, :2] - 50, torch.full((30, 1), -1.7), boxes[:, 2:4]], 1)
        boxes = torch.cat([boxes, torch.full((30, 1), 1.5), turned(30)[0][:, 4:]], 1)
        return call("points_in_boxes_cpu", scan(many(20_000))[None, :, :3], boxes[None])

    few, some = many(1000), many(4096)
    return {
        "nms_rotated, 1000": (f"{few} boxes", lambda: call("nms_rotated", *turned(few), 0.2)),
        "nms_rotated, 4096": (f"{some} boxes", lambda: call("nms_rotated", *turned(some), 0.2)),
        "box_iou_rotated": (
            f"{few} x {many(100)} boxes",
            lambda: call("box_iou_rotated", turned(few)[0], turned(many(100), 1)[0]),
        ),
        "nms": (f"{some} boxes", lambda: call("nms", *upright(some), 0.5)),
        "soft_nms": (f"{few} boxes", lambda: call("soft_nms", *upright(few))),
        "nms_match": (
            f"{few} boxes",
            lambda: call(
                "nms_match", torch.cat([upright(few)[0], upright(few)[1][:, None]], 1), 0.5
            ),
        ),
        "bbox_overlaps": (
            f"{some} x {many(100)} boxes",
            lambda: call("bbox_overlaps", upright(some)[0], upright(many(100))[0]),
        ),
        "points_in_boxes_cpu": (f"{many(20_000):,} points, 30 boxes", points_in_boxes),
    }


def _there_and_back(function: Callable[..., Tensor], inputs: list[Tensor]) -> Work:
    leaves = [value.requires_grad_() for value in inputs]

    def work() -> Any:
        out = function(*leaves)
        return torch.autograd.grad(out, leaves, torch.ones_like(out))

    return work


def _regions(many: Callable[[int], int]) -> dict[str, tuple[str, Callable[[], Work]]]:
    count = many(128)

    def upright() -> Work:
        from mmcv.ops import roi_align

        generator = torch.Generator().manual_seed(0)
        low = torch.rand(count, 2, generator=generator) * 60
        size = torch.rand(count, 2, generator=generator) * 30 + 2
        rois = torch.cat([torch.zeros(count, 1), low, low + size], 1)
        maps = torch.randn(1, 64, 100, 100, generator=generator)
        return _there_and_back(lambda maps: roi_align(maps, rois, (7, 7), 1.0, 2), [maps])

    def turned() -> Work:
        from mmcv.ops import roi_align_rotated

        generator = torch.Generator().manual_seed(0)
        centre = torch.rand(count, 2, generator=generator) * 100
        size = torch.rand(count, 2, generator=generator) * 30 + 2
        angle = torch.rand(count, 1, generator=generator) * 6
        rois = torch.cat([torch.zeros(count, 1), centre, size, angle], 1)
        maps = torch.randn(1, 64, 100, 100, generator=generator)
        return _there_and_back(lambda maps: roi_align_rotated(maps, rois, (7, 7), 1.0, 2), [maps])

    words = f"{count} regions of 64 x 100 x 100, forward and backward"
    return {"roi_align": (words, upright), "roi_align_rotated": (words, turned)}


def _deformed(many: Callable[[int], int]) -> dict[str, tuple[str, Callable[[], Work]]]:
    side = max(4, round(many(1600) ** 0.5))

    def plain() -> Work:
        from mmcv.ops import deform_conv2d

        generator = torch.Generator().manual_seed(0)
        inputs = [
            torch.randn(1, 128, side, side, generator=generator),
            torch.randn(1, 18, side, side, generator=generator),
            torch.randn(128, 128, 3, 3, generator=generator),
        ]
        return _there_and_back(lambda *each: deform_conv2d(*each, 1, 1), inputs)

    def modulated() -> Work:
        from mmcv.ops import modulated_deform_conv2d

        generator = torch.Generator().manual_seed(0)
        inputs = [
            torch.randn(1, 128, side, side, generator=generator),
            torch.randn(1, 18, side, side, generator=generator),
            torch.rand(1, 9, side, side, generator=generator),
            torch.randn(128, 128, 3, 3, generator=generator),
            torch.randn(128, generator=generator),
        ]
        return _there_and_back(lambda *each: modulated_deform_conv2d(*each, 1, 1), inputs)

    words = f"128 x {side} x {side}, 3 x 3, forward and backward"
    return {"deform_conv": (words, plain), "modulated_deform_conv": (words, modulated)}


def processor_seconds(work: Work) -> float:
    """Processor time of one call on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.process_time()
        work()
        return time.process_time() - started
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Answer names with seconds, until the other side ends."""
    known = works(float(sys.argv[1]))
    made: dict[str, Work] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in made:
            made[name] = known[name][1]()
        sys.stdout.write(f"{processor_seconds(made[name])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
