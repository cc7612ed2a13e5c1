# SPDX-License-Identifier: Apache-2.0
"""Load an exported detector with mmdet3d alone, as a script: lidistill cannot be imported here.

    python plain_mmdet3d.py CONFIG.py WEIGHTS.pth POINTS.bin RESULT.npz

Where mmcv's ops are not compiled, each of them is an error: building a detector and loading its
weights needs their names only, a prediction needs compiled ones. Then RESULT holds no boxes.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import torch


class _NoOps(ModuleType):
    """Has every op, runs none."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_args: object, **_kwargs: object) -> None:
            raise RuntimeError(f"{name} is not compiled")

        return missing


def main(config: str, weights: str, points: str, result: str) -> None:
    """Strictly load, then predict where that is possible."""
    sys.modules["lidistill"] = None
    torch.set_num_threads(1)  # spconv on the CPU is wrong with more
    compiled = importlib.util.find_spec("mmcv._ext") is not None
    if not compiled:
        sys.modules["mmcv._ext"] = _NoOps("mmcv._ext")
    from mmdet3d.apis import inference_detector, init_model

    model = init_model(config, weights, device="cpu")
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    found = model.state_dict()
    if found.keys() != state.keys():
        raise ValueError(f"names differ: {sorted(found.keys() ^ state.keys())}")
    unequal = [name for name, tensor in state.items() if not torch.equal(found[name], tensor)]
    if unequal:
        raise ValueError(f"not loaded as they are: {unequal}")
    arrays = {"classes": np.array(model.dataset_meta["classes"]), "tensors": np.array(len(found))}
    if compiled:
        boxes = inference_detector(model, points)[0].pred_instances_3d
        arrays |= {
            "boxes": boxes.bboxes_3d.tensor.numpy(),
            "scores": boxes.scores_3d.numpy(),
            "labels": boxes.labels_3d.numpy(),
        }
    np.savez(result, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
