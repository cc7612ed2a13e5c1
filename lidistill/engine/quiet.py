# SPDX-License-Identifier: Apache-2.0
"""mmengine's runner with a terminal that can be read: what is long goes to the log file alone."""

from __future__ import annotations

import logging
import re
from typing import IO, Any

from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from lidistill.distill.weights import check_start

LONG = re.compile(
    r"\n-+\nSystem environment:|Config:\n|Hooks will be executed in the following order:"
)
SUMMARY = re.compile(r"(Epoch|Iter)\(test\)\s+\[(\d+)/\2\]\s+(?!.*eta:)\S+:")
"""mmengine's line of all scores of a test; the terminal gets tables of them."""


class QuietRunner(Runner):
    """Writes environment, config and order of hooks (hundreds of lines) to the log file only.

    It starts from no file that has nothing for its model.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """mmengine's logger; its terminal leaves out what is long."""
        # named by the second: another training of this process and second would keep its file
        MMLogger._instance_dict.pop(self._experiment_name, None)
        logger = super().build_logger(*args, **kwargs)
        hush(logger)
        logger.info(f"log, config and environment: {self.log_dir}")
        return logger

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> Any:
        """mmengine's, for ``load_from`` and to resume; see :func:`check_start`."""
        content = super().load_checkpoint(filename, *args, **kwargs)
        model: Any = self.model
        check_start(model.module if is_model_wrapper(model) else model, content, filename)
        return content


def hush(logger: logging.Logger) -> None:
    """Leave long messages to the files of a logger; again and again is fine."""
    for handler in logger.handlers:
        on_screen = not isinstance(handler, logging.FileHandler)
        if on_screen and not any(isinstance(one, _Short) for one in handler.filters):
            handler.addFilter(_Short())


def forget_stream(stream: IO[str]) -> None:
    """Take a stream that is about to be closed from mmengine's loggers, which outlive it."""
    for logger in list(MMLogger._instance_dict.values()):
        for handler in list(logger.handlers):
            if getattr(handler, "stream", None) is stream:
                logger.removeHandler(handler)


class _Short(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is for a reader at a terminal."""
        text = record.getMessage()
        return LONG.match(text) is None and SUMMARY.match(text) is None
