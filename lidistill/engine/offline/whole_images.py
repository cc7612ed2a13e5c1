# SPDX-License-Identifier: Apache-2.0
"""The whole images of a config's data set, and its image teacher: what offline verbs run over."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidistill import compat
from lidistill.converters.info_paths import superpixels_name
from lidistill.datasets.loading import LoadImages, PackPairs
from lidistill.datasets.pairs_dataset import ImageLidarPairs, some_images
from lidistill.datasets.transforms import ResizeImages
from lidistill.distill.teacher import Teacher
from lidistill.engine.configs.caches import images_of
from lidistill.engine.configs.read import add_config_arguments, load_config
from lidistill.engine.untrained import check_trained, option_of
from lidistill.progress import track


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that every verb over whole images has."""
    add_config_arguments(parser)
    parser.add_argument("--data-root", help="use the dataset here instead of the config's")
    parser.add_argument(
        "--infos", action="extend", nargs="+", help="info files (default: the training set's)"
    )
    parser.add_argument("--teacher", help="which one, where the config has several")
    parser.add_argument("--checkpoint", help="the teacher's weights, in place of the config's")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="of the images the teacher sees"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that decode images")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    parser.add_argument(
        "--shard", default="1/1", metavar="I/N", help="do the I-th of N shares, on this machine"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="count the work, estimate time and disk, and stop"
    )


@dataclass
class WholeFrame:
    """The images of one frame.

    Attributes:
        token: Of the frame.
        image_tokens: K of them.
        names: Files in a superpixel store, K.
        file_sizes: (H, W) of the files, K.
        images: (K, 3, H, W) resized, normalised.
    """

    token: str
    image_tokens: list[str]
    names: list[str]
    file_sizes: list[tuple[int, int]]
    images: Tensor


class WholeImages(torch.utils.data.Dataset):
    """Frames of a data set with their whole images, resized and normalised as the config does.

    Args:
        dataset: Config of an :class:`lidistill.datasets.pairs_dataset.ImageLidarPairs`.
        size: (H, W) of the images.
        infos: Info files; None takes the config's.
    """

    def __init__(
        self, dataset: Mapping[str, Any], size: tuple[int, int], infos: Sequence[str] | None = None
    ) -> None:
        settings = {key: value for key, value in dataset.items() if key != "type"}
        steps = [step for step in settings.pop("pipeline") if step.get("type") is PackPairs]
        normalise = {key: steps[0][key] for key in ("mean", "std") if steps and key in steps[0]}
        settings.update(superpixels_dir=None, superpixels=None)
        pipeline = [LoadImages(), ResizeImages(size), PackPairs(**normalise)]
        self.parts = []
        for ann_file in infos or [settings["ann_file"]]:
            part = ImageLidarPairs(**{**settings, "ann_file": ann_file, "pipeline": pipeline})
            part.full_init()
            self.parts.append(part)
        self.places = [(part, row) for part in self.parts for row in range(len(part))]

    @property
    def info_files(self) -> list[Path]:
        """What the frames come from."""
        return [Path(part.ann_file) for part in self.parts]

    @property
    def root(self) -> Path:
        """The data root."""
        return self.parts[0].root

    def some_files(self, count: int) -> list[Path]:
        """Images of so many frames, evenly spaced; of each frame another camera's."""
        return some_images(self.places, count)

    def __len__(self) -> int:
        return len(self.places)

    def describe(self, index: int) -> WholeFrame:
        """A frame without its images: nothing is read from disk."""
        part, row = self.places[index]
        info = part.get_data_info(row)
        cameras = part.frame(info, np.random.default_rng(0)).cameras
        return WholeFrame(
            token=str(info.get("token", row)),
            image_tokens=[camera.token for camera in cameras],
            names=[superpixels_name(info["images"][camera.name]) for camera in cameras],
            file_sizes=[(camera.height, camera.width) for camera in cameras],
            images=torch.zeros(0),
        )

    def __getitem__(self, index: int) -> WholeFrame:
        part, row = self.places[index]
        frame = self.describe(index)
        images = part[row].images
        frame.images = torch.zeros(0) if images is None else images
        return frame


def read_frames(
    dataset: WholeImages, rows: Sequence[int], workers: int, description: str
) -> Iterator[WholeFrame]:
    """The listed frames with their images, decoded by worker processes, with a progress bar."""
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(dataset, list(rows)), batch_size=None, num_workers=workers
    )
    return track(loader, description, total=len(rows))


def open_config(args: argparse.Namespace) -> tuple[WholeImages, Teacher]:
    """Data set and teacher of the arguments, the teacher on its device.

    Raises:
        ValueError: The config has no image teacher, or several and none is named, or no size.
    """
    compat.apply()
    cfg = load_config(args.config, args.cfg_options, args.data_root)
    entry = _teacher_entry(cfg, args.teacher)
    if args.checkpoint:
        entry["checkpoint"] = args.checkpoint
    size = args.size or (entry.get("cache") or {}).get("size")
    if size is None:
        raise ValueError("expected the size of the images: --size H W, or cache.size in the config")
    checkpoint = str(entry.get("checkpoint") or "")
    if checkpoint.startswith("stage://"):
        raise ValueError(
            f"the teacher's weights are those of a stage, {checkpoint}; name the file that stage "
            "wrote: --checkpoint work_dirs/.../iter_N.pth"
        )
    inputs = images_of(cfg.train_dataloader.dataset)
    cache = {**(entry.pop("cache", None) or {}), "size": tuple(size), "inputs": inputs}
    if getattr(args, "out", None):
        cache["folder"] = args.out
    if "folder" not in cache:
        raise ValueError("expected a folder: --out FOLDER, or cache.folder in the config")
    teacher = Teacher(**{"taps": {"map": ""}, "inputs": ("images",), **entry, "cache": cache})
    check_trained(teacher, args.teacher or "image", option_of(cfg.model, args.teacher or "image"))
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    teacher.apply_to_tensors(lambda tensor: tensor.to(device))
    dataset = WholeImages(cfg.train_dataloader.dataset, (size[0], size[1]), args.infos)
    return dataset, teacher


def device_of(teacher: Teacher) -> torch.device:
    """Where the teacher's weights are."""
    return next(teacher.model.parameters(), torch.zeros(0)).device


def _teacher_entry(cfg: Any, name: str | None) -> dict[str, Any]:
    entry = (cfg.get("model") or {}).get("teacher")
    if entry is None:
        raise ValueError(
            "expected a config of an image-to-LiDAR method, with model.teacher; this one has none"
        )
    if "model" in entry:
        return dict(entry)
    if name not in entry:
        raise ValueError(f"--teacher: expected one of {', '.join(sorted(entry))}, got {name}")
    return dict(entry[name])
