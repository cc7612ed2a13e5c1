# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's KITTI data set with classes of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill.converters.infos import command_for, load_infos
from lidistill.io import DataError
from lidistill.registry import DATASETS


@DATASETS.register_module()
def kitti_frames(ann_file: str, data_root: str, metainfo: Mapping[str, Any], **options: Any) -> Any:
    """mmdet3d's ``KittiDataset``, its classes those of the info file in place of KITTI's eight.

    Args:
        ann_file: info file, made with ``lidistill create_data kitti --classes ...``.
        data_root: its folder.
        metainfo: ``classes``: names in the detector's order, each of them in the info file.
        options: of ``KittiDataset``.

    Raises:
        DataError: a class that the info file was not told to teach.
    """
    from mmdet3d.datasets import KittiDataset

    path = Path(data_root, ann_file)
    info = load_infos(path, "kitti").metainfo
    labels = {name: label for name, label in info["categories"].items() if label >= 0}
    taught = info.get("taught", list(labels))
    unknown = [name for name in metainfo["classes"] if name not in taught]
    if unknown:
        raise DataError(
            f"Expected classes that the info file teaches ({', '.join(taught)}), got "
            f"{', '.join(unknown)}.",
            path=path,
            fix=f"{command_for('kitti')} --classes {' '.join(metainfo['classes'])}",
        )
    names = tuple(sorted(labels, key=labels.__getitem__))
    # An attribute of the object, not a class of its own: worker processes can pickle it.
    frames = KittiDataset.__new__(KittiDataset)
    frames.METAINFO = {**KittiDataset.METAINFO, "classes": names}
    KittiDataset.__init__(
        frames, data_root=data_root, ann_file=ann_file, metainfo=dict(metainfo), **options
    )
    return frames
