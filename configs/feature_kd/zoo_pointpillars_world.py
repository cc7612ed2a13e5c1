# SPDX-License-Identifier: Apache-2.0
"""One objective of the zoo at a time on PointPillars, embedded world: ``zoo`` has them all.

``lidistill evidence zoo_pointpillars`` compares them; here PKD, as an example.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.zoo_anchor import *
    from .pointpillars_world import *

model["terms"] = zoo["pkd"]
