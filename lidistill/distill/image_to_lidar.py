# SPDX-License-Identifier: Apache-2.0
"""What image-to-LiDAR methods share: their networks, and how regions and pairs are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lidistill.datasets.frame import PairBatch
from lidistill.distill.distiller import Distiller
from lidistill.distill.regions import SuperpixelRegions
from lidistill.distill.schedules import Schedule
from lidistill.distill.teacher import Teacher
from lidistill.losses.contrastive import RegionPairs, select_regions
from lidistill.losses.gather import Negatives
from lidistill.ops.segments.pixel_read import read_pixels, read_pixels_lowres
from lidistill.ops.segments.segment import label_map_mean, pool_map_regions_lowres, segment_mean

VOXEL_INPUTS = ("voxel_features", "voxel_coords", "spatial_shape", "batch_size")
"""Batch fields that a voxel network takes."""
ONE_TEACHER = "image"
"""Name of the teacher where there is only one."""


def image_to_lidar(
    student: nn.Module | dict,
    teacher: Teacher | dict,
    point_head: nn.Module | dict,
    image_head: nn.Module | dict | None,
    student_tap: str = "",
    student_inputs: Sequence[str] = VOXEL_INPUTS,
    weights: Mapping[str, float | Schedule] | None = None,
) -> dict[str, Any]:
    """Arguments of a Distiller that teaches a LiDAR network from images.

    Several image networks teach at once where ``teacher`` is a dictionary name -> teacher; then
    ``point_head`` and ``image_head`` are dictionaries with the same names, and each term carries
    the name of its teacher (``infonce_dino``).

    Args:
        student: network on voxels; called with ``student_inputs`` of the batch.
        teacher: arguments of :class:`lidistill.distill.teacher.Teacher`: ``model``, a frozen image
            network (B, 3, H, W) -> (B, C, h, w), and its local ``checkpoint``.
        point_head: (V, C) -> (V, D); trained with the student.
        image_head: (B, C, h, w) -> (B, D, h', w'); trained with the student. None takes the
            teacher's own map.
        student_tap: module of the student whose (V, C) output is taught; ``""`` is its output.
        student_inputs: batch fields the student takes.
        weights: term -> number or schedule; 1 where not named.

    Raises:
        ValueError: heads and teachers do not have the same names.
    """
    named = isinstance(teacher, Mapping) and "model" not in teacher
    teachers: dict[str, Any] = {**teacher} if named else {ONE_TEACHER: teacher}  # type: ignore[dict-item]
    connectors: dict[str, nn.Module | dict] = {}
    for side, head in (("point", point_head), ("image", image_head)):
        for name, one in _heads(side, head, list(teachers)).items():
            connectors[f"{side}_{name}" if named else side] = one
    return {
        "student": student,
        "student_taps": {"voxels": student_tap},
        "student_inputs": student_inputs,
        "teachers": {name: _image_teacher(one) for name, one in teachers.items()},
        "connectors": connectors,
        "weights": weights,
    }


def _heads(side: str, head: Any, names: Sequence[str]) -> dict[str, nn.Module | dict]:
    """One head for each teacher."""
    if head is None:
        return {name: nn.Identity() for name in names}
    if list(names) == [ONE_TEACHER]:
        return {ONE_TEACHER: head}
    if isinstance(head, Mapping) and set(head) == set(names):
        return dict(head)
    got = sorted(head) if isinstance(head, Mapping) else type(head).__name__
    raise ValueError(f"{side}_head must name one head for each teacher, {sorted(names)}; got {got}")


def _image_teacher(teacher: Teacher | dict) -> Teacher:
    if not isinstance(teacher, Mapping):
        return teacher
    return Teacher(**{"taps": {"map": ""}, "inputs": ("images",), **teacher})


@dataclass
class View:
    """What one image teacher and the student give, each behind its head.

    Attributes:
        points: (V, D) student embeddings of the voxels.
        pixels: (B, D, h, w) teacher embeddings.
        frozen: (B, C, h, w) the teacher's own map.
        suffix: of the teacher's loss terms; empty for a single one.
    """

    points: torch.Tensor
    pixels: torch.Tensor
    frozen: torch.Tensor
    suffix: str = ""


def views(connectors: nn.ModuleDict, student: Any, teachers: Mapping[str, Any]) -> dict[str, View]:
    """One :class:`View` for each image teacher, by the suffix of its loss terms.

    Args:
        connectors: of the Distiller, named as :func:`image_to_lidar` does.
        student: tapped student outputs.
        teachers: tapped outputs of each teacher.

    Returns:
        ``{"": view}`` for a single teacher, ``{"_dino": ..., "_moco": ...}`` for several.
    """
    found = {}
    for name, outputs in teachers.items():
        suffix = "" if name == ONE_TEACHER else f"_{name}"
        frozen = outputs.map.features.float()
        found[suffix] = View(
            points=connectors[f"point{suffix}"](student.voxels.features),
            pixels=connectors[f"image{suffix}"](frozen),
            frozen=frozen,
            suffix=suffix,
        )
    return found


class RegionContrast(Distiller):
    """What methods that contrast regions share; each says in :meth:`contrast` how.

    Args:
        temperature: of the InfoNCE.
        region_scope: ``image``, or ``sample`` where the cameras of a sample share their regions;
            see :meth:`lidistill.distill.regions.SuperpixelRegions.from_batch`.
        negatives: ``"rank"``: the regions of the own process, as in the releases; ``"all"``: those
            of all processes of a training.
        networks: ``student``, ``teacher``, ``point_head``, ``image_head``, ...; see
            :func:`image_to_lidar`.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        region_scope: str = "image",
        negatives: Negatives = "rank",
        **networks: Any,
    ) -> None:
        super().__init__(**image_to_lidar(**networks))
        self.temperature = temperature
        self.region_scope = region_scope
        self.negatives = negatives

    def distill_losses(
        self, student: Any, teachers: dict[str, Any], batch: PairBatch
    ) -> dict[str, torch.Tensor]:
        """One contrast for each image teacher."""
        regions = SuperpixelRegions.from_batch(batch, self.region_scope)
        return {
            f"infonce{suffix}": self.contrast(view, regions)
            for suffix, view in views(self.connectors, student, teachers).items()
        }

    def contrast(self, view: View, regions: SuperpixelRegions) -> torch.Tensor:
        """The method's loss for one image teacher."""
        raise NotImplementedError


def pool_superpixels(
    points: torch.Tensor,
    pixels: torch.Tensor,
    regions: SuperpixelRegions,
    compat_channel0: bool = False,
) -> RegionPairs:
    """Mean point feature over the pairs, mean pixel feature over all pixels, of each region.

    Args:
        points: (V, D) voxel embeddings.
        pixels: (B, D, h, w) map; below the size of the superpixels it is pooled through the weights
            of bilinear interpolation, without the upsampled map.
        regions: superpixels of the batch.
        compat_channel0: the release's rule for which regions count.
    """
    point_mean, point_count = segment_mean(
        points[regions.pair_voxel], regions.pair_region, regions.count, eps=1e-6
    )
    pixel_mean, pixel_count = pool_pixels(pixels, regions)
    return select_regions(point_mean, point_count, pixel_mean, pixel_count, compat_channel0)


def pool_pixels(
    pixels: torch.Tensor, regions: SuperpixelRegions
) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, C) mean of a map over each region's pixels, and (S,) pixel counts."""
    full_size = pixels.shape[2:] == regions.pixel_region.shape[1:]
    pool_map = label_map_mean if full_size else pool_map_regions_lowres
    return pool_map(pixels, regions.pixel_region, regions.count, eps=1e-6)


def pixels_at_pairs(
    pixels: torch.Tensor, batch: Any, chosen: torch.Tensor | slice = slice(None)
) -> torch.Tensor:
    """(P, D) map features at the pixels of the chosen pairs, between cells where it is smaller.

    Args:
        pixels: (B, D, h, w) map.
        batch: a :class:`lidistill.datasets.frame.PairBatch`.
        chosen: which pairs.
    """
    image, rowcol = batch.pair_image[chosen], batch.pair_rowcol[chosen]
    size = tuple(batch.images.shape[2:])
    if pixels.shape[2:] == size:
        return read_pixels(pixels, image, rowcol)
    return read_pixels_lowres(pixels, image, rowcol, size)
