# SPDX-License-Identifier: Apache-2.0
"""Known messages are silent, others are not; and each is still made where we say it is."""

from __future__ import annotations

import inspect
import logging
import warnings

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger

from lidistill import compat
from lidistill.compat.noise import LOG_MESSAGES, WARNINGS, hush, hush_logger


@pytest.mark.parametrize("name", sorted(LOG_MESSAGES))
def test_only_the_known_messages_are_silent(name, caplog):
    compat.apply()
    hush()
    logger = logging.getLogger(name)
    assert sum(type(one).__name__ == "_Without" for one in logger.filters) == 1
    logger.propagate, before = True, logger.propagate
    with caplog.at_level(logging.WARNING, logger=name):
        for message in LOG_MESSAGES[name]:
            logger.warning(message + " and so on")
        logger.warning("another")
    logger.propagate = before
    assert [record.getMessage() for record in caplog.records] == ["another"]


def test_warnings():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        hush()
        for message, category in WARNINGS:
            warnings.warn(f"{message}. Use another.", category, stacklevel=1)
        warnings.warn("broadcast is deprecated", FutureWarning, stacklevel=1)
    assert [str(one.message) for one in seen] == ["broadcast is deprecated"]


def test_a_runs_logger(capsys):
    logger = MMLogger.get_instance("test_noise")
    hush_logger(logger)
    hush_logger(logger)
    assert len(logger.filters) == 1
    logger.warning('"FileClient" will be deprecated in future. Please')
    logger.warning("the disk is full")
    shown = capsys.readouterr()
    assert "FileClient" not in shown.out + shown.err
    assert "the disk is full" in shown.out + shown.err


def test_the_messages_are_still_made_there():
    """When one of these fails, the filter has lost its reason."""
    from mmdet.models.task_modules.samplers import sampling_result
    from mmdet3d.models.dense_heads import anchor3d_head
    from mmdet3d.models.task_modules.anchor import anchor_3d_generator
    from mmengine.utils.dl_utils import setup_env
    from torch.fx import _symbolic_trace

    assert "is_fx_tracing will return true" in inspect.getsource(_symbolic_trace)
    assert "FileClient.infer_client" in inspect.getsource(CheckpointHook.before_train)
    sources = {
        "`broadcast": torch.nn.parallel.distributed,
        "DeprecationWarning: ": sampling_result,
        "dir_offset": anchor3d_head,
        "Multi-processing": setup_env,
    }
    for message, _ in WARNINGS:
        if not message.startswith("torch.meshgrid"):  # torch's own compiled part says this
            source = next(sources[word] for word in sources if message.startswith(word))
            assert message in inspect.getsource(source), message
    assert "torch.meshgrid(x_centers" in inspect.getsource(anchor_3d_generator)
