# SPDX-License-Identifier: Apache-2.0
"""Data sets of mmdet3d, built and read so that whatever breaks in them names file and frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from mmengine.registry import DefaultScope
from torch.utils.data import Dataset

from lidistill.converters.info_paths import frame_token
from lidistill.io import INFOS_AGAIN, DataError, load_pickle
from lidistill.registry import DATASETS

BREAKS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What foreign code raises at a value that it does not expect."""


def build_frames(config: Mapping[str, Any]) -> Dataset:
    """A data set of mmdet3d from its config, whose strings mean mmdet3d's classes.

    Raises:
        DataError: its info file has a frame that the data set cannot read; names both.
    """
    from lidistill import compat

    compat.apply()
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        try:
            return DATASETS.build(dict(config))
        except DataError:
            raise
        except BREAKS:
            _name_the_frame(config)
            raise


def _name_the_frame(config: Mapping[str, Any]) -> None:
    """Read the frames again, one after the other, for the error of the first that breaks."""
    frames: Any = DATASETS.build({**config, "lazy_init": True})
    if not hasattr(frames, "ann_file"):  # of several data sets
        return
    for info in load_pickle(frames.ann_file)["data_list"]:
        with named(frames, partial(dict, info)):
            frames.parse_data_info(info)


@contextmanager
def named(frames: Any, info: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """What breaks while a frame is read is one error that names the frame and its info file.

    Args:
        frames: the data set.
        info: gives the frame's entry; called where something broke.
    """
    try:
        yield
    except DataError:
        raise
    except BREAKS as error:
        raise DataError(
            f"{type(frames).__name__} does not take this frame: {type(error).__name__}: {error}.",
            path=getattr(frames, "ann_file", None),
            token=frame_token(info()),
            fix=INFOS_AGAIN,
        ) from error
