# SPDX-License-Identifier: Apache-2.0
"""Info files of foreign data sets: read without running code from them, and checked as ours."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from lidistill.io import INFOS_AGAIN, DataError, load_pickle

SUFFIXES = (".pkl", ".pickle")
FIX = INFOS_AGAIN


def patch_base_dataset(module: ModuleType) -> None:
    """``BaseDataset`` reads its annotations with :func:`lidistill.io.load_pickle`."""
    foreign = module.load

    def load(file: Any, *args: Any, **kwargs: Any) -> Any:
        name = str(file)
        if not name.endswith(SUFFIXES) or "://" in name:
            return foreign(file, *args, **kwargs)
        content = load_pickle(Path(name), fix=FIX)
        known = content if isinstance(content, dict) else {}
        metainfo, frames = known.get("metainfo"), known.get("data_list")
        if not isinstance(metainfo, dict) or not isinstance(frames, list):
            raise DataError("Expected metainfo and a data_list.", path=name, fix=FIX)
        if not frames:
            raise DataError("0 frames in this info file: its split is empty.", path=name, fix=FIX)
        if not all(isinstance(frame, dict) for frame in frames):
            raise DataError("Expected frames that are dictionaries.", path=name, fix=FIX)
        from lidistill.converters.info_checks import INFO_VERSION, check_frames

        if metainfo.get("info_version") == INFO_VERSION:  # of other schemas nothing is known
            check_frames(content, name, FIX)
        return content

    module.load = load  # type: ignore[attr-defined]
