# SPDX-License-Identifier: Apache-2.0
"""Where the files that an info file names lie: the rule of mmdet3d's ``data_prefix``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lidistill.io import inside, plain_name

NUSCENES_CAMERAS = ("FRONT", "FRONT_RIGHT", "BACK_RIGHT", "BACK", "BACK_LEFT", "FRONT_LEFT")


class InfoPaths:
    """Turns file names of an info file into paths.

    A name with a folder in it counts from the data root; a bare name lies in the folder of its
    kind. A backslash is taken as ``/``. Names that lead out of the data root are refused.

    Args:
        root: The data root.
        metainfo: ``metainfo`` of the info file: names the dataset and its version.
        prefix: Folders below the root by kind (``pts``, ``pts_semantic_mask``, camera names);
            None takes the standard ones of nuScenes or KITTI.
    """

    def __init__(
        self,
        root: str | Path,
        metainfo: Mapping[str, Any],
        prefix: Mapping[str, str] | None = None,
    ) -> None:
        self.root = Path(root)
        self.prefix = dict(prefix) if prefix is not None else default_prefix(metainfo)

    def __call__(self, name: str, kind: str) -> Path:
        """Path of a file of a kind.

        Raises:
            DataError: The name is absolute, holds ``..``, or is no text.
        """
        path = inside(self.root, name, f"file of {kind}")
        if path.parent != self.root:
            return path
        return self.root / self.prefix.get(kind, "") / path.name


def default_prefix(metainfo: Mapping[str, Any]) -> dict[str, str]:
    """Standard folders of a dataset, keyed as mmdet3d's ``data_prefix``."""
    if str(metainfo.get("dataset", "")).lower() == "kitti":
        part = "testing" if metainfo.get("split") == "test" else "training"
        points = metainfo.get("points_folder", "velodyne")
        return {"pts": f"{part}/{points}", "CAM2": f"{part}/image_2", "CAM3": f"{part}/image_3"}
    return {
        "pts": "samples/LIDAR_TOP",
        "pts_semantic_mask": f"lidarseg/{metainfo.get('version', 'v1.0-trainval')}",
        **{f"CAM_{name}": f"samples/CAM_{name}" for name in NUSCENES_CAMERAS},
    }


def camera_names(info: Mapping[str, Any], wanted: Sequence[str] | None = None) -> list[str]:
    """Cameras of one info entry that have an image; KITTI lists four and ships one."""
    if wanted is not None:
        return list(wanted)
    images = info.get("images", {}).items()  # KITTI keeps R0_rect, a matrix, among its images
    return [name for name, image in images if isinstance(image, Mapping) and image.get("img_path")]


def frame_token(info: Mapping[str, Any]) -> str:
    """The name of a frame in messages and results: its token, or its point file's without one.

    mmdet3d's files of KITTI have no tokens, and its data sets put a frame's place in the file over
    ``sample_idx``: by that, a frame would be another before and after.
    """
    return str(info.get("token") or point_stem(info) or info.get("sample_idx", "?"))


def point_stem(info: Mapping[str, Any]) -> str:
    """Name of a frame's point file without its suffix; empty where it names none.

    Of ``1532402927.647951.bin`` the dot before the microseconds stays: others begin like it.
    """
    record = info.get("lidar_points")
    path = str(record.get("lidar_path") or "") if isinstance(record, Mapping) else ""
    name = path.replace("\\", "/").rpartition("/")[2]
    return (name.rpartition(".")[0] or name).removesuffix(".pcd")


def superpixels_name(image: Mapping[str, Any], store: str | Path | None = None) -> str:
    """File name of an image's superpixels in a store.

    Args:
        image: of the info file.
        store: for the error message.

    Raises:
        DataError: It is none: the store is one folder.
    """
    name = image.get("superpixels_path") or f"{image.get('sample_data_token') or ''}.png"
    what = "name of a superpixel file (superpixels_path, sample_data_token)"
    return plain_name(name, what, store)
