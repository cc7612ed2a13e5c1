# SPDX-License-Identifier: Apache-2.0
"""Messages of dependencies that a user of lidistill can do nothing about: exactly these are silent.

Filters only: nothing is imported, and every other message of the same packages comes through.
"""

from __future__ import annotations

import logging
import warnings

LOG_MESSAGES = {
    # torch 2.13 says this once when its own optimizers ask whether they are being traced
    "torch.fx._symbolic_trace": ("is_fx_tracing will return true",),
    # mmengine's CheckpointHook builds its own deprecated FileClient, whatever backend it is given
    "mmengine": (
        '"FileClient" will be deprecated in future',
        '"HardDiskBackend" is the alias of "LocalBackend"',
    ),
}
"""Logger -> beginnings of its messages."""
WARNINGS = (
    # mmengine's MMDistributedDataParallel passes the argument by the name that torch < 2.13 knows
    ("`broadcast_buffers` is deprecated", FutureWarning),
    # mmdet3d asks mmdet's samples for boxes by their old names, once an object and step
    ("DeprecationWarning: pos_bboxes is deprecated", UserWarning),
    ("DeprecationWarning: neg_bboxes is deprecated", UserWarning),
    ("DeprecationWarning: bboxes is deprecated", UserWarning),
    # its anchor heads say this of configs that have always been written so
    ("dir_offset and dir_limit_offset will be depressed", UserWarning),
    # and its anchors ask torch for a grid as torch 1.9 wanted it
    ("torch.meshgrid: in an upcoming release", UserWarning),
    # mmengine says how its workers start where joblib has said it before
    ("Multi-processing start method `", UserWarning),
)
"""Beginnings of warnings, and their category."""


class _Without(logging.Filter):
    def __init__(self, beginnings: tuple[str, ...]) -> None:
        super().__init__()
        self.beginnings = beginnings

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is none of ours."""
        return not record.getMessage().startswith(self.beginnings)


def hush() -> None:
    """Silence the known messages; again and again is fine."""
    for name, beginnings in LOG_MESSAGES.items():
        logger = logging.getLogger(name)
        if not any(isinstance(one, _Without) for one in logger.filters):
            logger.addFilter(_Without(beginnings))
    for message, category in WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category)


def hush_logger(logger: logging.Logger) -> None:
    """Do the same for mmengine's logger of a run, which is none of :mod:`logging`'s own."""
    if not any(isinstance(one, _Without) for one in logger.filters):
        logger.addFilter(_Without(LOG_MESSAGES["mmengine"]))
