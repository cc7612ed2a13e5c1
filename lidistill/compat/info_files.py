# SPDX-License-Identifier: Apache-2.0
"""Info files of foreign data sets, read without running code from them."""

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
        if isinstance(content, dict) and content.get("data_list") == []:
            raise DataError("0 frames in this info file: its split is empty.", path=name, fix=FIX)
        return content

    module.load = load  # type: ignore[attr-defined]
