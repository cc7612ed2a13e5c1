# SPDX-License-Identifier: Apache-2.0
"""Evaluation: probes of frozen features, mIoU, label maps, rows of results; each protocol named.

Names are imported on first use, so that reading a record does not load torch.
Functions named as their module are imported from it:
``from lidistill.evaluation.probes.linear import linear_probe``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "calibrate_batch_norm": "probes.batch_norm",
    "NUSCENES_CLASSES": "label_maps",
    "NUSCENES_COLOURS": "label_maps",
    "map_labels": "label_maps",
    "nuscenes_label_table": "label_maps",
    "mlp_probe": "probes.linear",
    "ConfusionMatrix": "miou",
    "iou_from_counts": "miou",
    "frame_features": "probes.samples",
    "raw_inputs": "probes.samples",
    "sample_points": "probes.samples",
    "voxels_to_points": "probes.samples",
    "ProbeResult": "probes.result",
    "ProbeSettings": "probes.result",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
