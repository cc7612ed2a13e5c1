# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.config import Config

from lidistill.engine.configs.overrides import apply_overrides


@pytest.mark.parametrize(
    ("given", "shorter"),
    [
        ({"begin": 500, "end": 100_000}, {"begin": 5, "end": 1000}),
        ({"begin": 500}, {"begin": 5}),
        ({"T_max": 100_000}, {"T_max": 1000}),
        ({"milestones": [60_000, 80_000, 90]}, {"milestones": [600, 800, 1]}),
        ({"step_size": 30_000}, {"step_size": 300}),
        ({"total_steps": 100_000}, {"total_steps": 1000}),
        ({"periods": (40_000, 60_000)}, {"periods": [400, 600]}),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_every_schedule_shrinks_with_the_iterations(given, shorter, alone):
    """Steps that lie behind the end never come: the whole training kept its first rate."""
    scheduler = {"type": "Some", "by_epoch": False, **given}
    cfg = Config(
        {
            "train_cfg": {"max_iters": 100_000},
            "param_scheduler": scheduler if alone else [scheduler],
        }
    )
    apply_overrides(cfg, None, False, {"iters": 1000})
    assert cfg.train_cfg.max_iters == 1000
    (found,) = cfg.param_scheduler
    assert {key: found[key] for key in given} == shorter
