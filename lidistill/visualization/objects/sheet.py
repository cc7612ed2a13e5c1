# SPDX-License-Identifier: Apache-2.0
"""An HTML sheet a scene: frames before and after, objects, and how much more is seen."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lidistill import io
from lidistill.converters.info_paths import InfoPaths, frame_token
from lidistill.converters.infos import load_infos
from lidistill.converters.object_bank.bank import SceneBank
from lidistill.converters.object_bank.build import BankReader
from lidistill.converters.object_bank.compose import ComposeOptions
from lidistill.converters.object_bank.export import bank_frame, complete_file, read_cloud
from lidistill.visualization.objects.coverage import coverage
from lidistill.visualization.objects.pictures import Forward, frame_pair, object_picture

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem}
body{color:#1c2330}
img{max-width:100%;display:block}table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.3rem .8rem;border-bottom:1px solid #d5dae3;text-align:right}
td:first-child,th:first-child{text-align:left}figure{margin:1.2rem 0}figcaption{color:#5a6478}
@media(prefers-color-scheme:dark){body{background:#12161f;color:#e4e8f0}td,th{border-color:#333c4d}}
"""


def write_sheets(
    bank: BankReader,
    info_file: Path,
    data_root: Path,
    out: Path,
    scenes: Sequence[str] | None = None,
    frames: int = 3,
    objects: int = 12,
    options: ComposeOptions | None = None,
) -> list[Path]:
    """Write one page a scene of the bank that the info file has frames of.

    Args:
        bank: of the scenes.
        info_file: names the frames' clouds.
        data_root: folder of the data set.
        out: folder of the pages.
        scenes: names; None takes all.
        frames: shown of each scene, evenly spaced.
        objects: shown, those with most points.
        options: what is put in.

    Raises:
        DataError: no frame of the info file, or of one of the scenes, is in the bank.
    """
    infos = load_infos(info_file, need=("lidar_points",))
    locate = InfoPaths(data_root, infos.metainfo)
    forward: Forward = "y" if infos.metainfo.get("dataset") == "nuscenes" else "x"
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for info in infos.frames:
        place = bank_frame(bank, info)
        if place is not None and (scenes is None or place[0] in scenes):
            found.setdefault(place[0], []).append((place[1], info))
    if not found:
        raise io.DataError(
            "The bank knows no frame of this info file.",
            path=info_file,
            fix="take the info file of the bank's data set and other --scenes.",
        )
    lacking = [scene for scene in scenes or () if scene not in found]
    if lacking:
        raise io.DataError(
            f"Bank and info file have no frame in common of {', '.join(lacking)}.",
            path=info_file,
            fix=f"name some of {', '.join(list(found)[:8])} with --scenes.",
        )
    written = []
    for scene, known in found.items():
        known.sort(key=lambda pair: pair[0])
        step = np.linspace(0, len(known) - 1, min(frames, len(known))).round().astype(int)
        shown = [known[k] for k in dict.fromkeys(step.tolist())]
        pairs = [
            (_caption(info), _pair(bank.scene(scene), frame, info, locate, forward, options))
            for frame, info in shown
        ]
        path = out / f"{io.plain_name(scene, 'name of a scene')}.html"
        with io.atomic_write(path) as temporary:
            text = scene_page(scene, bank.scene(scene), pairs, objects)
            temporary.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _caption(info: dict[str, Any]) -> str:
    return f"frame {frame_token(info)}: as scanned (left), objects completed (right)"


def _pair(
    bank: SceneBank,
    frame: int,
    info: dict[str, Any],
    locate: InfoPaths,
    forward: Forward,
    options: ComposeOptions | None,
) -> NDArray[np.uint8]:
    path = locate(info["lidar_points"]["lidar_path"], "pts")
    points = read_cloud(info, path)
    composed = complete_file(points, path, bank, frame, options)
    return frame_pair(points, composed, forward=forward)


def scene_page(
    scene: str,
    bank: SceneBank,
    pairs: Sequence[tuple[str, NDArray[np.uint8]]],
    objects: int,
) -> str:
    """The page.

    Args:
        scene: its name.
        bank: of it.
        pairs: caption and picture of each frame.
        objects: how many are shown.
    """
    notes = bank.notes
    title = html.escape(f"Objects of {scene}")
    standing = int(bank.standing.sum())
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>",
        f"<style>{STYLE}</style><h1>{title}</h1>",
        f"<p>{len(bank)} objects, {standing} of them standing; {len(bank.xyz):,} points kept of "
        f"{notes['gathered_points']:,} gathered from {notes['boxes']:,} boxes.</p>",
        "<h2>How much of an object is seen</h2>",
        _coverage_table(bank),
        "<h2>Frames</h2>",
        *(_figure(picture, caption) for caption, picture in pairs),
        "<h2>Objects</h2><p>The frame that most kept points are from, seen from the side and from "
        "above; then the whole track. Mirrored points are blue.</p>",
        *_objects(bank, objects),
    ]
    if notes["notes"]:
        items = "".join(f"<li>{html.escape(note)}</li>" for note in notes["notes"])
        parts.append(f"<h2>What was odd</h2><ul>{items}</ul>")
    return "\n".join(parts)


def _coverage_table(bank: SceneBank) -> str:
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{found.objects}</td><td>{found.one_frame:.1f}</td>"
        f"<td>{found.track:.1f}</td><td>{found.mirrored:.1f}</td><td>{found.points:.0f}</td>"
        f"<td>{found.track_points:.0f}</td></tr>"
        for name, found in coverage([bank]).items()
    ]
    return (
        "<table><tr><th>class<th>objects<th>cells in one frame<th>over the track<th>with mirror"
        "<th>points in one frame<th>kept</tr>" + "".join(rows) + "</table>"
        "<p>Cells of 0.3 m that hold a point; means over objects.</p>"
    )


def _objects(bank: SceneBank, count: int) -> list[str]:
    sizes = np.diff(bank.offsets)
    order = np.argsort(-sizes, kind="stable")[:count]
    return [
        _figure(
            object_picture(bank, int(instance)),
            f"{bank.names[instance]} {bank.tokens[instance]}: {sizes[instance]:,} points of "
            f"{len(np.unique(bank.source[slice(*bank.offsets[instance : instance + 2])]))} frames"
            + (", standing" if bank.standing[instance] else ""),
        )
        for instance in order
        if sizes[instance]
    ]


def _figure(picture: NDArray[np.uint8], caption: str) -> str:
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    text = html.escape(caption)
    code = base64.b64encode(data.tobytes()).decode()
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{code}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
