# SPDX-License-Identifier: Apache-2.0
"""Trials of what tools write: info files, regions, caches, checkpoints."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load, save
from torch import nn

from lidistill import compat
from lidistill.converters.superpixels.mask_files import read_regions
from lidistill.converters.superpixels.store import SuperpixelStore
from lidistill.datasets.bev.depth_maps import LoadDepthMaps, write_depth
from lidistill.datasets.loading import LoadImages, LoadPointLabels, LoadPoints, LoadSuperpixels
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.distill.caches.detections import read_record
from lidistill.distill.caches.store import FeatureStore
from lidistill.io import DataError, read_manifest
from lidistill.models.teachers.weights import load_image_weights
from tests.datasets.mini import make_mini
from tests.robustness.mutate_form import FREE, OPTIONAL, RAW, ROWS, Format, why
from tests.robustness.mutate_kinds import (
    ANY,
    JSON,
    PICKLE,
    image,
    labels,
    npy,
    points,
    recoded,
)

OTHER = "another valid value"


# -- info files and what they name --------------------------------------------------------------
def pairs(root: Path) -> None:
    make_mini(root)


def read_pairs(root: Path) -> Any:
    steps = [LoadPoints(), LoadPointLabels(), LoadImages(), LoadSuperpixels()]
    data = ImageLidarPairs(root / "infos.pkl", root, steps, superpixels_dir=root / "slic")
    frames = [vars(data[index]) for index in range(len(data))]
    return [{k: v for k, v in frame.items() if k != "rng"} for frame in frames]


def read_store(root: Path) -> Any:
    store = SuperpixelStore(root / "slic", {"segments": 20})
    return store.parameters, len(store), read_manifest(root / "slic")


_PAIRS = (
    Format(
        "infos.pkl",
        pairs,
        "infos.pkl",
        read_pairs,
        ANY | PICKLE,
        why(RAW, "flipped bits", "absurd value")
        | why(OPTIONAL, "missing key", "null", "wrong type", "entry twice", "list for a record"),
        {r"^\[\]$": "any number of frames", r"cameras|labels": "cameras may be left out"},
    ),
    Format(
        "infos.manifest.json",
        pairs,
        "infos.pkl.manifest.json",
        lambda root: read_manifest(root / "infos.pkl"),
        ANY | JSON,
        why(OTHER, *JSON, "flipped bits"),
        FREE,
    ),
    Format("superpixels.png", pairs, "slic/*.png", read_pairs, ANY | image("PNG")),
    Format(
        "superpixels.manifest.json",
        pairs,
        "slic/manifest.json",
        read_store,
        ANY | JSON,
        why(OTHER, *JSON, "flipped bits"),
        FREE,
    ),
    Format(
        "pairs.jpg",
        pairs,
        "samples/CAM*/*.jpg",
        read_pairs,
        ANY | image("JPEG"),
        why("JPEG has no check sums", "flipped bits", "zeros", "cut"),
    ),
    Format(
        "pairs.pcd.bin",
        pairs,
        "samples/LIDAR_TOP/*.bin",
        read_pairs,
        ANY | points(5),
        why(RAW, "flipped bits", "zeros"),
        limit=1e19,
    ),
    Format(
        "pairs.lidarseg",
        pairs,
        "lidarseg/*/*.bin",
        read_pairs,
        ANY | labels("u1"),
        why(RAW, "flipped bits", "zeros", "absurd value"),
    ),
)


# -- masks ---------------------------------------------------------------------------------------
def masks(root: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 5, (12, 18))
    np.save(root / "labels.npy", numbers.astype(np.int32))
    np.savez_compressed(root / "labels.npz", numbers.astype(np.uint8))
    np.save(root / "stack.npy", np.stack([numbers == k for k in range(5)]))
    Image.fromarray(numbers.astype(np.uint16)).save(root / "labels.png")
    codes = [
        {"segmentation": {"size": [12, 18], "counts": [10, 50, 100, 56]}, "area": 106},
        {"segmentation": {"size": [12, 18], "counts": [0, 216]}, "area": 216},
    ]
    (root / "codes.json").write_text(json.dumps(codes))


def _regions(name: str) -> Callable[[Path], Any]:
    return lambda root: read_regions(root / name, "token", (12, 18), resize=False)


_MASKS = (
    Format(
        "masks.npy",
        masks,
        "labels.npy",
        _regions("labels.npy"),
        ANY | npy(),
        why(RAW, "flipped bits", "wrong type", "zeros"),
        limit=2**31,  # ids of masks may be any number
    ),
    Format(
        "masks.stack.npy",
        masks,
        "stack.npy",
        _regions("stack.npy"),
        ANY | npy(),
        why(RAW, "flipped bits", "wrong shape", "zeros"),
        {r"": "fewer masks are other masks"},
    ),
    Format("masks.npz", masks, "labels.npz", _regions("labels.npz"), ANY),
    Format("masks.png", masks, "labels.png", _regions("labels.png"), ANY | image("PNG")),
    Format(
        "masks.json",
        masks,
        "codes.json",
        _regions("codes.json"),
        ANY | JSON,
        why(ROWS, "missing key", "entry twice", "flipped bits", "wrong root"),
    ),
)


# -- depth maps -----------------------------------------------------------------------------------
def depths(root: Path) -> None:
    rng = np.random.default_rng(0)
    for token in "ab":
        depth = rng.uniform(1, 60, (32, 48)) * (rng.random((32, 48)) < 0.5)
        write_depth(root / f"{token}.png", depth.astype(np.float32))


def read_depths(root: Path) -> Any:
    frame = {"img": [np.zeros((32, 48, 3))], "img_aug_matrix": np.eye(4)[None],
             "cam_names": ("CAM",), "images": {"CAM": {"height": 32, "width": 48}}}  # fmt: skip
    load = LoadDepthMaps(str(root))
    return [load({**frame, "token": token})["depth"] for token in "ab"]


_DEPTHS = (Format("depth.png", depths, "*.png", read_depths, ANY | image("PNG")),)


# -- teachers' caches ------------------------------------------------------------------------------
def cache(root: Path) -> None:
    store = FeatureStore(root / "cache", {"teacher": "x"})
    for token in "ab":
        store.write(token, "tap", np.random.default_rng(0).normal(size=(3, 4, 5)))
    store.describe(2)


def read_cache(root: Path) -> Any:
    store = FeatureStore(root / "cache", {"teacher": "x"}, create=False)
    maps = [store.read(token, "tap") for token in "ab"]
    if any(values is None for values in maps):  # as its callers say
        raise DataError("Samples are not in the teacher's cache.", path=root / "cache")
    return maps, store.parameters


def cached_detections(root: Path) -> None:
    """Boxes of one tap, voxels of another, as a detector's replayed cache keeps them."""
    store, rng = FeatureStore(root / "cache", {"teacher": "x"}), np.random.default_rng(0)
    for token in "ab":
        boxes = rng.uniform(1, 2, (4, 9)) * [1, 1, 1, 1, 1, 1, 1, 0.5, 1]  # the last a label
        cells = rng.integers(0, 8, (6, 3))
        for name, rows in {
            "boxes.boxes": boxes.astype(np.float32), "voxels.cells": cells,
            "voxels.shape": np.full((1, 3), 8), "voxels.counts": rng.integers(1, 9, (6, 1)),
            "voxels.features": rng.normal(size=(6, 5)),
        }.items():  # fmt: skip
            store.write(token, name, rows[None], exact=not name.endswith("features"))


def read_cached_detections(root: Path) -> Any:
    store = FeatureStore(root / "cache", {"teacher": "x"}, create=False)
    records = [read_record(store, token, tap) for token in "ab" for tap in ("boxes", "voxels")]
    if not all(records):  # as its callers say
        raise DataError("Samples are not in the teacher's cache.", path=root / "cache")
    return records


_CACHE = (
    Format(
        "cache.detections",
        cached_detections,
        "cache/*/*/*.npy",
        read_cached_detections,
        ANY | npy(),
        why("files of earlier versions have no check sum", "wrong shape"),
        FREE,
    ),
    Format(
        "cache.npy",
        cache,
        "cache/tap/*/*.npy",
        read_cache,
        ANY | npy(),
        why("files of earlier versions have no check sum", "wrong shape"),
        FREE,
    ),
    Format(
        "cache.manifest.json",
        cache,
        "cache/manifest.json",
        read_cache,
        ANY | JSON,
        why(OTHER, *JSON),
    ),
    Format("cache.bytes", cache, "cache/.bytes", read_cache, ANY),
)


# -- checkpoints ---------------------------------------------------------------------------------
def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def checkpoints(root: Path) -> None:
    state = {name: tensor.clone() for name, tensor in _network().state_dict().items()}
    torch.save({"meta": {"iter": 3}, "state_dict": state}, root / "weights.pth")
    (root / "weights.safetensors").write_bytes(save(state))


def _weights(name: str) -> Callable[[Path], Any]:
    def read(root: Path) -> Any:
        network = _network()
        load_image_weights(network, root / name)
        return dict(network.state_dict())

    return read


def read_as_mmengine(root: Path) -> Any:
    """To resume a training, or to start from."""
    compat.apply()
    from mmengine.runner import CheckpointLoader

    return CheckpointLoader.load_checkpoint(str(root / "weights.pth"), map_location="cpu")


def _torch_load(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def _torch_save(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _nonsense(load_: Callable[[bytes], Any], save_: Callable[[Any], bytes]) -> Any:
    """Values, shapes or types of one tensor that no network can have."""

    def mutation(data: bytes, rng: np.random.Generator) -> bytes:
        content = load_(data)
        state = content.get("state_dict", content)
        name = sorted(state)[int(rng.integers(len(state)))]
        old = state[name]
        state[name] = [
            old * float("nan"), old.double()[None], old.to(torch.complex64), old.bool(),
            torch.zeros(0),
        ][int(rng.integers(5))].contiguous()  # fmt: skip
        return save_(content)

    return {"wrong tensor": mutation}


_CHECKPOINTS = (
    Format(
        "checkpoint.resumed",
        checkpoints,
        "weights.pth",
        read_as_mmengine,
        ANY,
        why("the zip archive's sums do not cover its own table", "flipped bits", "longer"),
    ),
    Format(
        "checkpoint.pth",
        checkpoints,
        "weights.pth",
        _weights("weights.pth"),
        ANY | recoded(_torch_load, _torch_save) | _nonsense(_torch_load, _torch_save),
        why("the zip archive's sums do not cover its own table", "entry twice")
        | why("a counter may be left out", "missing key", "wrong tensor", "null", "wrong type"),
        {"num_batches_tracked": "counts nothing that is used"},
    ),
    Format(
        "checkpoint.safetensors",
        checkpoints,
        "weights.safetensors",
        _weights("weights.safetensors"),
        ANY | _nonsense(load, save),
        why(RAW, "flipped bits", "zeros") | why("a counter may be anything", "wrong tensor"),
        {"num_batches_tracked": "counts nothing that is used"},
        limit=1e38,
    ),
)


PRODUCTS = (*_PAIRS, *_MASKS, *_DEPTHS, *_CACHE, *_CHECKPOINTS)
