# SPDX-License-Identifier: Apache-2.0
"""Which frames of a training set count as labelled: fractions by scene and by scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lidistill import io
from lidistill.converters.info_paths import frame_token, point_stem

Scenes = int | str | Path | Sequence[str]
"""Number of scenes, a file of scene names, or the names."""


def labelled_frames(
    infos: Sequence[Mapping[str, Any]], scenes: Scenes | None = None, every_scan: int = 1
) -> list[Mapping[str, Any]]:
    """The frames that a fraction of the labels leaves.

    Args:
        infos: frames of an info file, in its order.
        scenes: see :func:`choose_scenes`; None takes all.
        every_scan: of the frames left, take every so many-th, the first one first. This is the
            SLidR authors' rule on SemanticKITTI (100 for 1 %).

    Raises:
        ValueError: nothing is left, or frames have no scene to choose by.
    """
    if every_scan < 1:
        raise ValueError(f"every_scan: expected 1 or more, got {every_scan}")
    kept = list(infos)
    if scenes is not None:
        if not all(info.get("scene_name") for info in infos):
            raise ValueError(
                "frames without scene_name cannot be chosen by scene: make the info file again "
                "with lidistill create_data, or choose by scan (every_scan)"
            )
        names = list(dict.fromkeys(str(info["scene_name"]) for info in infos))
        chosen = set(choose_scenes(names, scenes))
        kept = [info for info in kept if info["scene_name"] in chosen]
    return kept[::every_scan]


Labelled = float | Scenes
"""Share of the frames (0..1], number of scenes, names of scenes or frames, or a file of them."""


def labelled_mask(infos: Sequence[Mapping[str, Any]], labelled: Labelled) -> list[bool]:
    """Which frames keep their labels, where the others are kept as unlabelled.

    Args:
        infos: frames, in the order of the info file.
        labelled: a share takes whole scenes, evenly spaced as in :func:`choose_scenes`, where the
            frames name scenes, else frames evenly spaced; at least one. A whole number is that many
            scenes. Names are scenes, tokens of frames or names of their point files (``000012``).

    Returns:
        One entry a frame, at least one of them true.

    Raises:
        ValueError: a share outside of (0, 1], unknown names, or none.
        DataError: the file is missing.
    """
    scenes = [str(info.get("scene_name") or "") for info in infos]
    by_scene = all(scenes)
    if isinstance(labelled, float):
        if not 0 < labelled <= 1:
            raise ValueError(f"labelled: expected a share above 0 and at most 1, got {labelled}")
        if not by_scene:
            count = max(1, round(labelled * len(infos)))
            rows = {(2 * k + 1) * len(infos) // (2 * count) for k in range(count)}
            return [row in rows for row in range(len(infos))]
        labelled = max(1, round(labelled * len(set(scenes))))
    if isinstance(labelled, int):
        if not by_scene:
            raise ValueError(
                f"labelled: {labelled} is a number of scenes, but the frames name none; give a "
                "share like 0.1, or tokens"
            )
        chosen = set(choose_scenes(list(dict.fromkeys(scenes)), labelled))
        return [scene in chosen for scene in scenes]
    wanted = read_scene_list(labelled) if isinstance(labelled, str | Path) else list(labelled)
    named = [{scene, *_names(info)} for scene, info in zip(scenes, infos, strict=True)]
    unknown = set(wanted) - set().union(*named)
    if unknown or not wanted:
        problem = f"unknown ones: {', '.join(sorted(unknown)[:5])}" if unknown else "no name at all"
        raise ValueError(
            f"labelled: expected names of scenes or tokens of frames, at least one; {problem}. The "
            f"first of {len(infos)} frames has {', '.join(sorted(filter(None, named[0])))}"
        )
    return [bool(names & set(wanted)) for names in named]


def _names(info: Mapping[str, Any]) -> set[str]:
    """What a frame is called; not ``sample_idx``, over which mmengine puts its own count."""
    return {frame_token(info), point_stem(info)} - {""}


def choose_scenes(names: Sequence[str], scenes: Scenes) -> list[str]:
    """Names of the labelled scenes.

    A number N takes every n-th scene with n = total // N, beginning with the n-th: of nuScenes' 700
    training scenes, 7, 35, 70 and 175 are the SLidR authors' 1, 5, 10 and 25 %.

    Args:
        names: all scenes, in the order of the info file (of nuScenes' scene table).
        scenes: a number, a text file with one name a line (``#`` begins a remark), or names.

    Raises:
        ValueError: more scenes than there are, unknown names, or none.
        DataError: the file is missing.

    Source: valeoai/SLidR @ 14729d0, ``downstream/dataloader_nuscenes.py``, ``dataset_skip_step``.
    """
    if isinstance(scenes, int):
        if not 1 <= scenes <= len(names):
            raise ValueError(f"scenes: expected 1..{len(names)}, got {scenes}")
        step = len(names) // scenes
        return list(names[step - 1 :: step][:scenes])
    wanted = read_scene_list(scenes) if isinstance(scenes, str | Path) else list(scenes)
    unknown = [name for name in wanted if name not in set(names)]
    if unknown or not wanted:
        problem = f"unknown ones: {', '.join(unknown[:5])}" if unknown else "no name at all"
        raise io.DataError(
            f"scenes {'of ' + str(scenes) if isinstance(scenes, str | Path) else 'given'}: "
            f"{problem}; the info file holds {len(names)}: {', '.join(list(names)[:5])}"
            f"{', ...' if len(names) > 5 else ''}"
        )
    return list(dict.fromkeys(wanted))


def read_scene_list(path: str | Path) -> list[str]:
    """Names in a text file, one a line; blank lines and what follows a ``#`` do not count.

    Raises:
        DataError: the file is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise io.DataError(
            "No such list of scenes.",
            path=path,
            fix="write one scene name a line, or give a number of scenes.",
        )
    lines = (line.split("#")[0].strip() for line in io.read_text(path).splitlines())
    return [line for line in lines if line]
