# SPDX-License-Identifier: Apache-2.0
"""The one place where registration is set up: children of mmengine's registries.

Locations are imported on first look-up, so ``import lidistill`` stays light. Configs in pure
Python style name classes directly and do not need these; foreign configs say ``lidistill.Name``.
"""

import importlib
from typing import Any

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
        "lidistill.datasets.bev.augment",
        "lidistill.datasets.bev.cameras",
        "lidistill.datasets.bev.depths",
        "lidistill.datasets.bev.pack",
        "lidistill.datasets.bev.paste",
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


def look_up(name: str) -> Any:
    """What a string in a config means: ``package.module.Class``, ``scope.Class`` or ``Class``."""
    import mmengine.runner  # noqa: F401  (fills mmengine's own registries)
    from mmengine import registry as registries
    from mmengine.registry import Registry

    from lidistill import compat

    compat.apply()  # mmdet3d does not import without the bridges
    module, _, attribute = name.rpartition(".")
    if module:
        try:
            return getattr(importlib.import_module(module), attribute)
        except AttributeError:
            pass
        except ModuleNotFoundError as error:
            if error.name != module.split(".")[0]:  # the module is there, what it needs is not
                raise
    for candidate in vars(registries).values():
        if isinstance(candidate, Registry):
            found = candidate.get(name)
            if found is not None:
                return found
    return None
