# SPDX-License-Identifier: Apache-2.0
"""Smaller versions of mmdet3d detectors: channels and layers scaled part by part.

In a config of ours, the student of PointDistiller's 4x compression::

    student = dict(
        type=compressed_detector,
        config="mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
        encoder=0.5, backbone=0.5, head=0.5,
    )

Factors of the papers: PointDistiller 2x = 0.71 everywhere, 4x = 0.5, 8x = 0.355, 16x = 0.25 (depth
kept; its release cuts broken widths off, here they are rounded); the students S, XS and XXS of
SparseKD and RDD scale encoder, backbone and neck, and head by (1, 0.5,
0.5), (0.75, 0.5, 0.5) and (0.5, 0.25, 0.25) for CenterPoint on voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lidistill.models.detectors.grid_fit import type_name
from lidistill.models.detectors.mmdet3d import (
    adapt_model,
    merge,
    mmdet3d_detector,
    read_model_config,
)
from lidistill.registry import MODELS

COMPRESSIBLE = (
    "PointPillars, also with a feature pyramid; SECOND; CenterPoint on pillars or voxels; PointRCNN"
)
"""Detectors whose widths are known here; docs/detection.md lists their parts."""
# What mmdet3d takes where a config is silent.
_SPARSE_DEFAULTS = {
    "base_channels": 16,
    "output_channels": 128,
    "encoder_channels": ((16,), (32, 32, 32), (64, 64, 64), (64, 64, 64)),
}


@MODELS.register_module()
def compressed_detector(
    config: str | Path | Mapping[str, Any],
    point_range: Sequence[float] | None = None,
    voxel_size: Sequence[float] | None = None,
    changes: Mapping[str, Any] | None = None,
    **factors: float,
) -> nn.Module:
    """Build a smaller version of a detector.

    Args:
        config: see :func:`lidistill.models.detectors.mmdet3d.read_model_config`.
        point_range: metres, with ``voxel_size``, in place of the config's.
        voxel_size: (x, y, z) metres.
        changes: of the model *before* it is made smaller: the teacher's own.
        factors: see :func:`compress`.

    Returns:
        The detector, with random weights.

    Raises:
        ValueError: none of :data:`COMPRESSIBLE`.
    """
    teacher = adapt_model(read_model_config(config), point_range, voxel_size, changes)
    return mmdet3d_detector(compress(teacher, **factors))


def detector_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """The plain mmdet3d config of what :func:`compressed_detector` or ``mmdet3d_detector`` builds.

    Args:
        model: config of one of the two, as it stands in a config of ours.

    Raises:
        ValueError: a model of another kind.
    """
    kind = model.get("type")
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    builders = (mmdet3d_detector, compressed_detector)
    if kind not in builders:
        raise ValueError(
            f"expected a detector by {' or '.join(b.__name__ for b in builders)}, got "
            f"{getattr(kind, '__name__', model.get('type'))}"
        )
    given = {key: value for key, value in model.items() if key != "type"}
    names = ("point_range", "voxel_size", "changes")
    arguments = {name: given.pop(name) for name in names if name in given}
    full = adapt_model(read_model_config(given.pop("config")), **arguments)
    return compress(full, **given) if kind is compressed_detector else full


def compress(
    model: Mapping[str, Any],
    encoder: float = 1.0,
    backbone: float = 1.0,
    head: float = 1.0,
    depth: float = 1.0,
) -> dict[str, Any]:
    """Scale a model config; widths that one part hands to the next follow.

    Args:
        model: config of a PointPillars, SECOND, CenterPoint or PointRCNN of mmdet3d; not touched.
        encoder: factor of the channels of pillars, sparse convolutions and set abstraction.
        backbone: of the BEV backbone and neck, or of the feature propagation.
        head: of the heads' own hidden layers.
        depth: of the number of layers in each stage of the BEV backbone; at least one stays.

    Raises:
        ValueError: a factor is not above 0; a part whose widths are not known here.
    """
    for name, factor in {
        "encoder": encoder,
        "backbone": backbone,
        "head": head,
        "depth": depth,
    }.items():
        if not factor > 0:
            raise ValueError(f"{name} must be above 0, got {factor}")
    small = merge({}, model)
    if "rpn_head" in small and "sa_channels" in small["backbone"]:
        return _points(small, encoder, backbone, head, depth)
    prefix = "pts_" if "pts_backbone" in small else ""
    for part in ("voxel_encoder", "middle_encoder", "backbone", "neck", "bbox_head"):
        if prefix + part not in small:
            raise _unknown(f"a {small.get('type')} has no {prefix}{part}, but {sorted(small)}")
    if not {"in_channels", "layer_nums"} <= set(small[prefix + "backbone"]):
        raise _unknown(f"a {small[prefix + 'backbone'].get('type')} as backbone")
    width = _encoder(small[prefix + "voxel_encoder"], small[prefix + "middle_encoder"], encoder)
    trunk, neck = small[prefix + "backbone"], small[prefix + "neck"]
    trunk["in_channels"] = round(trunk["in_channels"] * width)
    trunk["out_channels"] = _scaled(trunk["out_channels"], backbone)
    trunk["layer_nums"] = _scaled(trunk["layer_nums"], depth)
    neck["in_channels"] = list(trunk["out_channels"])
    neck["out_channels"] = _scaled(neck["out_channels"], backbone)
    _head(small[prefix + "bbox_head"], neck["out_channels"], head)
    return small


def _unknown(what: str) -> ValueError:
    return ValueError(
        f"expected one of the detectors whose widths are known here ({COMPRESSIBLE}), got {what}; "
        "name the smaller widths of another in `changes` of mmdet3d_detector"
    )


def _encoder(voxel: dict[str, Any], middle: dict[str, Any], factor: float) -> float:
    """Scale the encoders in place; returns by how much the BEV map became narrower."""
    if "Scatter" in type_name(middle):
        before = middle["in_channels"]
        voxel["feat_channels"] = _scaled(voxel["feat_channels"], factor)
        middle["in_channels"] = voxel["feat_channels"][-1]
        return float(middle["in_channels"] / before)
    if "Sparse" not in type_name(middle):
        raise _unknown(f"a {middle['type']} as middle encoder")
    sizes = {key: middle.get(key, value) for key, value in _SPARSE_DEFAULTS.items()}
    middle.update({key: _scaled(value, factor) for key, value in sizes.items()})
    return float(middle["output_channels"] / sizes["output_channels"])


def _points(
    small: dict[str, Any], encoder: float, backbone: float, head: float, depth: float
) -> dict[str, Any]:
    """Scale a PointRCNN in place: PointNet++, feature propagation, the heads of both stages."""
    if depth != 1:
        raise ValueError(f"a {small['type']} has no BEV backbone to make shallower, got {depth=}")
    sets, neck = small["backbone"], small["neck"]
    sets["sa_channels"] = _scaled(sets["sa_channels"], encoder)
    joined = sets.get("aggregation_channels") or [None] * len(sets["sa_channels"])
    sets["aggregation_channels"] = tuple(n and _scaled(n, encoder) for n in joined)
    widths = [sets["in_channels"] - 3]  # of the points, then of each level
    for level, scales in enumerate(sets["sa_channels"]):
        together = sum(layers[-1] for layers in scales)
        if level in sets["out_indices"]:
            widths.append(sets["aggregation_channels"][level] or together)
    width, layers = widths.pop(), []
    for level in neck["fp_channels"]:  # from the coarsest on; each also takes the level below
        own = _scaled(tuple(level[1:]), backbone)
        layers.append((width + widths.pop(), *own))
        width = own[-1]
    neck["fp_channels"] = tuple(layers)
    first, second = small["rpn_head"]["pred_layer_cfg"], small["roi_head"]["bbox_head"]
    first["in_channels"] = width
    for key in ("cls_linear_channels", "reg_linear_channels"):
        first[key] = _scaled(first[key], head)
    # what it makes of a point's place stands beside the point's features, as wide
    second["mlp_channels"] = [*_scaled(second["mlp_channels"][:-1], head), width]
    second["sa_channels"] = _scaled(second["sa_channels"], head)
    layers_of_boxes = second["pred_layer_cfg"]
    layers_of_boxes["in_channels"] = second["sa_channels"][-1][-1]
    for key in ("cls_conv_channels", "reg_conv_channels"):
        layers_of_boxes[key] = _scaled(layers_of_boxes[key], head)
    return small


def _head(head: dict[str, Any], incoming: int | Sequence[int], factor: float) -> None:
    """Scale a head in place and let it take what the neck gives."""
    width = incoming if isinstance(incoming, int) else sum(incoming)
    if "feat_channels" in head:
        head["feat_channels"] = width
    head["in_channels"] = width
    if "share_conv_channel" in head:
        head["share_conv_channel"] = _scaled(head["share_conv_channel"], factor)
        separate = head.setdefault("separate_head", {"type": "SeparateHead"})
        separate["head_conv"] = _scaled(separate.get("head_conv", 64), factor)


def _scaled(value: Any, factor: float) -> Any:
    """Numbers of any nesting, rounded, at least 1."""
    if isinstance(value, list | tuple):
        return type(value)(_scaled(item, factor) for item in value)
    return max(1, round(value * factor))
