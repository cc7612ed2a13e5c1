# SPDX-License-Identifier: Apache-2.0
"""The page of benchmarks: rows of a record in groups, with plain names and two bars each."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
WIDTH = 7.0  # em, of the longer bar


@dataclass(frozen=True)
class Group:
    """Rows that answer one question.

    Attributes:
        title: of the group.
        words: what is compared, in a sentence or two.
        names: pattern of the record's names -> plain name; groups of the pattern may be named.
        reference: what the grey bar is.
    """

    title: str
    words: str
    names: Mapping[str, str]
    reference: str = "reference"


GROUPS = (
    Group(
        "A whole training step of SLidR",
        "The step as the authors' release computes it (image network at stride 4, one-hot "
        "matrices) beside ours at its defaults (stride 16, segment sums).",
        {
            r"(gpu_)?slidr_step_defaults": "SLidR's step, the demo's small student",
            r"slidr_step_defaults_minkunet34": "SLidR's step, the paper's student",
            r"gpu_slidr_step_bfloat16": "SLidR's step, the paper's student, bfloat16",
            r"slidr_step_authors_teacher": "ours with the authors' dense image network",
            r"slidr_step_cache_on": "ours with the teacher's maps from a cache",
            r"gpu_slidr_networks_alone": "our step's networks alone",
            r"slidr_demo_read_batch": "reading one batch of the demo",
            r"slidr_demo_train_step": "one step of the demo",
            r"slidr_kitti_read_batch": "reading one batch of KITTI's layout",
            r"slidr_kitti_train_step": "one step on it, the image network computed",
            r"slidr_kitti_teacher": "of that step the image network",
            r"slidr_kitti_student": "of that step the student",
        },
    ),
    Group(
        "Losses",
        "The loss as the authors write it (dense maps, one-hot sparse matrices) beside ours on the "
        "same features.",
        {
            r"(gpu_)?region_infonce": "SLidR's contrast of regions",
            r"region_infonce_from_stride4": "the same, from the small feature map",
            r"point_infonce": "PPKT's contrast of single points",
            r"point_infonce_from_stride4": "the same, from the small feature map",
            r"(gpu_)?local_graph, (.*)": r"PointDistiller's local graphs, \2",
            r"unidistill_(.*)": r"UniDistill's \1",
        },
    ),
    Group(
        "Bird's-eye views of cameras",
        "The volume of all points, sorted and summed as LSS and BEVDet do, beside ours without it.",
        {
            r"(gpu_)?BEV pooling, beside index_add": "BEV pooling, beside indexed sums",
            r"(gpu_)?BEV pooling, (.*)": r"BEV pooling, \2",
        },
    ),
    Group(
        "Points and boxes",
        "mmcv's way with a grid of the whole range, and SLidR's eight steps a camera, beside ours.",
        {
            r"hard voxelization, (.*)": r"points into voxels, \1's settings",
            r"points to voxels, mean": "mean of the points of each voxel",
            r"pairing of six cameras": "LiDAR points into the images of six cameras",
        },
    ),
    Group(
        "mmcv's ops beside the compiled build",
        "mmcv 2.1.0 compiled for the CPU in a process of its own beside the stand-in, both through "
        "mmcv's Python layer, on one thread; times are processor time.",
        {r"mmcv, (.*)": r"\1"},
        "compiled",
    ),
    Group(
        "Object-complete frames",
        "A scene's objects gathered and all its frames completed: a frame loaded again for every "
        "object in it and objects pasted one by one, as the authors' tool does (their look-ups in "
        "nuScenes' tables left out), beside ours.",
        {
            r"object-complete": "a scene, gathered and completed",
            r"object-complete, (.*)": r"\1",
        },
    ),
    Group(
        "Sparse convolutions of one cell on the CPU",
        "No race: such a layer is one product of matrices, in spconv as in ours; on the smallest "
        "input ours is the slower.",
        {r"sparse conv, 1x1x1": "1x1x1"},
        "spconv",
    ),
    Group(
        "Sparse convolutions on the CPU",
        "One layer forward and backward, and its index tables alone: spconv's own CPU kernels "
        "beside ours.",
        {r"sparse conv, (.*)": r"\1", r"index tables, (.*)": r"index tables, \1"},
    ),
    Group(
        "A detector's own training step",
        "mmdet3d's pillar layers and CenterPoint's targets beside ours on the same batch; a "
        "detector with neither has no reference; of one with voxels the targets are a small part.",
        {r"(gpu_)?detector_step, (.*)": r"\2"},
    ),
    Group(
        "What distillation adds to a detector's step",
        "No race: the grey bar is the student trained alone, the blue one the same step with a "
        "teacher that runs and a loss that is taken. Twice the time is usual, since the teacher is "
        "the larger network; what it brings is in the tables of evidence. With the teacher's boxes "
        "in a cache, the grey bar is the step that computes them.",
        {
            r"(gpu_)?distilled_step, (.*), pillars": r"\2, compared at its pillars",
            r"(gpu_)?distilled_step, (.*), maps": r"\2, compared at its maps",
            r"(gpu_)?distilled_step, (.*), teacher's boxes cached": r"\2, teacher's boxes cached",
            r"(gpu_)?distilled_step, (UniDistill), (.*)": r"\2, from \3",
        },
        "without",
    ),
    Group(
        "A teacher that stops where it is no longer needed",
        "The teacher run to the end of its head, as usual, beside ours that ends after the last "
        "feature that the method reads.",
        {r"(gpu_)?teacher, ((?!SECOND).*)": r"\2"},
    ),
    Group(
        "A teacher with hardly anything behind its maps",
        "No race: SECOND's head is three convolutions of one cell, as good as nothing beside its "
        "encoder, and that is all there is to save.",
        {r"(gpu_)?teacher, (SECOND.*)": r"\2"},
    ),
    Group(
        "KITTI's evaluation",
        "Each frame's overlaps in full, and each frame again for every one of the 41 scores, as "
        "the official program does (compiled, one frame's pairs only), beside ours, which keeps "
        "the pairs that can match; the second row includes reading the text files.",
        {
            r"KITTI evaluator": "scores of a validation split, from memory",
            r"KITTI evaluator with its files": "the same, with its files",
        },
    ),
    Group(
        "Voxels out of one image",
        "The volume of features times depth distribution, read trilinearly (CaDDN), beside ours "
        "that reads at the voxels' pixels.",
        {
            r"frustum": "to a map, heights mixed",
            r"frustum, voxels alone": "to voxels",
        },
    ),
    Group(
        "The embedded world and superpixels",
        "Rays cast by testing every object and its primitives, beside ours; superpixels of the "
        "whole image beside those made at half its size.",
        {
            r"world_lidar_(.*)": r"a LiDAR sweep, \1",
            r"world_camera_(.*)": r"a camera image, \1",
            r"superpixels_half_size_(.*)": r"superpixels at half size (\1)",
        },
    ),
)
OTHERS = Group("Others", "", {r"(.*)": r"\1"})


def page(record: Mapping[str, Any]) -> str:
    """All groups that have rows, as Markdown with tables in HTML."""
    grouped: dict[str, list[tuple[int, Row, str]]] = {}
    for row in record["rows"]:
        group, name = place(row["name"])
        grouped.setdefault(group.title, []).append((rank(row["name"], group), row, name))
    parts = []
    for group in (*GROUPS, OTHERS):
        if group.title in grouped:
            rows = sorted(grouped[group.title], key=lambda ranked: ranked[0])
            lines = [line(row, name, group) for _, row, name in rows]
            parts.append(f"### {group.title}\n\n{group.words}\n\n{table(lines)}")
    of_rows = (row.get("commit", record["commit"]) for row in record["rows"])
    commits = ", ".join(dict.fromkeys([record["commit"], *of_rows]))
    parts.append(
        f"Commit `{commits}`; {record['hardware']}; {record['threads']} threads. "
        "Reference and ours run in turns in one process; times are medians, the factor is the "
        "median of paired ratios, memory is the peak above what the process held before the call."
    )
    return "\n\n".join(parts) + "\n"


def place(name: str) -> tuple[Group, str]:
    """The group of a row and its plain name."""
    for group in (*GROUPS, OTHERS):
        for pattern, plain in group.names.items():
            found = re.fullmatch(pattern, name)
            if found:
                return group, found.expand(plain)
    raise AssertionError(name)  # OTHERS takes every name


def rank(name: str, group: Group) -> int:
    """Rows stand in the order of the group's names."""
    return next(n for n, pattern in enumerate(group.names) if re.fullmatch(pattern, name))


def table(lines: Sequence[str]) -> str:
    """The lines under one head; no empty line inside, or Markdown would end it."""
    head = ["what, on what input, internal name", "time", "", "memory, MiB"]
    cells = "".join(f"<th>{word}</th>" for word in head)
    return "\n".join(['<table class="bench">', f"<tr>{cells}</tr>", *lines, "</table>"])


def line(row: Row, name: str, group: Group) -> str:
    """One row: plain name, input and internal name; two bars; what that is in words; memory."""
    theirs, ours = row["reference_s"], row["ours_s"]
    longest = max(ours, theirs or 0.0)
    bars = "".join(
        f'<span class="{kind}" style="width:{max(WIDTH * value / longest, 0.1):.2f}em"></span>'
        f"{seconds(value)} {label}<br>"
        for kind, value, label in (("theirs", theirs, group.reference), ("ours", ours, "ours"))
        if value is not None
    )
    memory = f"{mebibytes(row['reference_mib'])} / {mebibytes(row['ours_mib'])}"
    small = html.escape(row["size"]), f"<code>{html.escape(row['name'])}</code>"
    cells = [
        "<br>".join([html.escape(name), *(f"<small>{text}</small>" for text in small)]),
        f'<div class="bars">{bars}</div>',
        factor(row["ratio"]),
        memory if row["reference_mib"] is not None else mebibytes(row["ours_mib"]),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def factor(ratio: float | None) -> str:
    """How many times as fast; below one, how many times as long."""
    if ratio is None:
        return "no reference"
    if ratio < 1:
        return f"{1 / ratio:.1f} times as long"
    return f"<b>{ratio:.0f}x</b>" if ratio >= 10 else f"<b>{ratio:.1f}x</b>"


def seconds(value: float) -> str:
    """Seconds or milliseconds, three digits."""
    text = f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def mebibytes(value: float | None) -> str:
    """Whole MiB."""
    return "-" if value is None else f"{value:,.0f}"
