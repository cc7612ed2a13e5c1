# SPDX-License-Identifier: Apache-2.0
"""The one place where registration is set up: children of mmengine's registries.

Locations are imported on first look-up, so ``import lidistill`` stays light. Configs in pure
Python style name classes directly and do not need these; foreign configs say ``lidistill.Name``.
"""

from mmengine.registry import DATASETS as _DATASETS
from mmengine.registry import HOOKS as _HOOKS
from mmengine.registry import LOOPS as _LOOPS
from mmengine.registry import METRICS as _METRICS
from mmengine.registry import MODELS as _MODELS
from mmengine.registry import TRANSFORMS as _TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry(
    "model", parent=_MODELS, scope="lidistill", locations=["lidistill.models", "lidistill.methods"]
)
DATASETS = Registry(
    "dataset",
    parent=_DATASETS,
    scope="lidistill",
    locations=[
        "lidistill.datasets.pairs_dataset",
        "lidistill.datasets.images",
        "lidistill.datasets.scans",
    ],
)
TRANSFORMS = Registry(
    "transform",
    parent=_TRANSFORMS,
    scope="lidistill",
    locations=[
        "lidistill.datasets.loading",
        "lidistill.datasets.point_files",
        "lidistill.datasets.transforms",
        "lidistill.datasets.scan_transforms",
    ],
)
HOOKS = Registry("hook", parent=_HOOKS, scope="lidistill", locations=["lidistill.hooks"])
METRICS = Registry("metric", parent=_METRICS, scope="lidistill", locations=["lidistill.evaluation"])
LOOPS = Registry(
    "loop", parent=_LOOPS, scope="lidistill", locations=["lidistill.engine.loops.iterations"]
)
