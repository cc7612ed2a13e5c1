# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on the maps of PointPillars' backbone, as its paper does for SECOND.

On pillars, as in ``pointpillars_world.py``, the gradient of the term ends in the pillar encoder,
which is one linear layer. Here it reaches the backbone as well. All places alike, as the release
has it on maps: `lidistill evidence graphs_pointpillars`.
"""

from mmengine.config import read_base

with read_base():
    from .pointpillars_world import *

model["graphs"] = dict(
    stage1=dict(
        tap="backbone[0]", channels=(width // 2, width), width=16, queries=256, neighbours=32
    ),
    stage2=dict(
        tap="backbone[1]", channels=(width, 2 * width), width=16, queries=256, neighbours=32
    ),
)
model["reweight"] = False
