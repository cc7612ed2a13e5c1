# SPDX-License-Identifier: Apache-2.0
"""Bridges over the known gaps between the pinned OpenMMLab and spconv releases and today's PyTorch.

``apply()`` puts them in place; it may be called any number of times and imports nothing heavy: a
bridge waits for the import of the module it mends. Each bridge has a test that fails once the gap
is gone upstream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lidistill import homes
from lidistill.compat import (
    center_targets,
    checkpoints,
    info_files,
    lazy_packages,
    minkunet,
    mmcv_points,
    noise,
    packages,
    pillars,
    spconv_layers,
    spconv_names,
    startup,
)
from lidistill.compat.imports import import_without, when_imported


@dataclass(frozen=True)
class Bridge:
    """One mended gap.

    Attributes:
        name: short name, as ``lidistill doctor`` prints it.
        reason: what is wrong without it.
        active: in place: the module is mended, or will be as soon as it is imported.
    """

    name: str
    reason: str
    active: bool


OVERWRITE = "mmdet3d.models.layers.spconv.overwrite_spconv.write_spconv2"
"""Where mmdet3d registers spconv's layers over mmcv's of the same names."""


def _spconv_names() -> bool:
    return spconv_names.install()


def _spconv_layers() -> bool:
    _when_spconv_imported("conv", spconv_layers.patch_conv)
    _when_spconv_imported("pool", spconv_layers.patch_pool)
    return True


def _spconv_tensor() -> bool:
    _when_spconv_imported("core", spconv_layers.patch_core)
    return True


def _when_spconv_imported(name: str, patch: Callable[[Any], None]) -> None:
    """Patch a module of spconv or spconv-triton; lidistill's own, under that name, needs none."""

    def callback(module: Any) -> None:
        if not module.__name__.startswith("lidistill."):
            patch(module)

    for package in ("spconv", "spconv_triton"):
        when_imported(f"{package}.pytorch.{name}", callback)


def _mmengine_resume() -> bool:
    when_imported("mmengine.logging.history_buffer", checkpoints.allow_history)
    when_imported("mmengine.runner.checkpoint", checkpoints.read_checked)
    return True


def _mmengine_infos() -> bool:
    when_imported("mmengine.dataset.base_dataset", info_files.patch_base_dataset)
    return True


def _mmengine_packages() -> bool:
    when_imported("mmengine.utils.package_utils", packages.ask_python)
    return True


def _mmdet3d_weights() -> bool:
    when_imported(OVERWRITE, checkpoints.keep_unversioned_weights)
    return True


def _mmcv_ext() -> bool:
    try:
        from lidistill.ops.mmcv import ext as mmcv_ext
    except ImportError:
        return False
    return bool(mmcv_ext.install())


def _mmcv_points() -> bool:
    when_imported("mmcv.ops.furthest_point_sample", mmcv_points.patch_furthest)
    when_imported("mmcv.ops.knn", mmcv_points.patch_knn)
    when_imported("mmcv.ops.points_in_boxes", mmcv_points.patch_boxes)
    return True


def _lazy_packages() -> bool:
    when_imported("mmengine.registry.registry", lazy_packages.patch_registry)
    when_imported(OVERWRITE, lazy_packages.register_mmcv_first)
    lazy_packages.install()
    return True


def _pillars() -> bool:
    when_imported("mmdet3d.models.voxel_encoders.pillar_encoder", pillars.patch_network)
    when_imported("mmdet3d.models.voxel_encoders.utils", pillars.patch_layer)
    return True


def _center_targets() -> bool:
    when_imported("mmdet3d.models.dense_heads.centerpoint_head", center_targets.patch_head)
    return True


def _minkunet() -> bool:
    name = "mmdet3d.models.data_preprocessors.data_preprocessor"
    when_imported(name, minkunet.patch_voxelize)
    return True


def _startup() -> bool:
    import_without(startup.OPTIMIZERS, "transformers")
    when_imported(startup.OPTIMIZERS, startup.late_adafactor)
    when_imported("mmengine.visualization.visualizer", startup.late_figure)
    when_imported("torch.optim", startup.leave_compiler_out)
    return True


_INSTALLERS: dict[str, tuple[str, Callable[[], bool]]] = {
    "spconv-names": (
        "spconv has no wheel for ARM, macOS, Python 3.14 and GPUs newer than Hopper: spconv-triton "
        "or lidistill answers in its place",
        _spconv_names,
    ),
    "spconv-cpu": (
        "spconv 2.3 on the CPU cannot run backward, is silently wrong with more than one thread, "
        "and its CUDA builds refuse CPU tensors; on CUDA it gives no gradient in eval mode",
        _spconv_layers,
    ),
    "spconv-tensor": (
        "spconv reads non-contiguous coordinates wrongly, without an error; its dense() indexes in "
        "a way that torch is about to redefine",
        _spconv_tensor,
    ),
    "mmengine-resume": (
        "mmengine 0.10 cannot resume under torch >= 2.6, which refuses its history classes",
        _mmengine_resume,
    ),
    "mmengine-infos": (
        "mmengine's data sets run whatever code an info file names",
        _mmengine_infos,
    ),
    "mmengine-packages": (
        "mmengine finds packages (bases like mmdet3d::second/...) with pkg_resources, which "
        "setuptools 81 left out",
        _mmengine_packages,
    ),
    "mmdet3d-spconv-weights": (
        "mmdet3d rotates the axes of spconv 2 weights whose state_dict carries no version",
        _mmdet3d_weights,
    ),
    "mmcv-ext": (
        "mmcv has no wheel for current torch and mmdet3d needs its compiled extension "
        "(inactive where that is present)",
        _mmcv_ext,
    ),
    "mmcv-points": (
        "mmcv's point sampling, neighbours and points in boxes ask for CUDA on CPU tensors too",
        _mmcv_points,
    ),
    "minkunet": (
        "mmdet3d moves MinkUNet's index tables to CUDA, whatever the points are on",
        _minkunet,
    ),
    "lazy-packages": (
        "mmengine, mmdet and mmdet3d import every module that they have, and so transformers, "
        "scikit-learn, pandas and torch's compiler, to build one detector",
        _lazy_packages,
    ),
    "startup": (
        "an optimizer loads torch's compiler and transformers, a logger loads matplotlib, "
        "whether they are used or not",
        _startup,
    ),
    "pillars": (
        "mmdet3d's pillar networks compute on all slots of a pillar, of which most are empty: more "
        "than half of a training step on the CPU",
        _pillars,
    ),
    "center-targets": (
        "mmdet3d makes CenterPoint's targets in a loop over boxes: a quarter of a training step on "
        "the CPU, and a dozen waits for the GPU each",
        _center_targets,
    ),
}
_ACTIVE: dict[str, bool] = {}


def apply() -> None:
    """Put every bridge in place and hush known messages; again and again is fine."""
    noise.hush()
    homes.settle()
    for name, (_, install) in _INSTALLERS.items():
        if not _ACTIVE.get(name):
            _ACTIVE[name] = install()


def bridges() -> list[Bridge]:
    """All bridges, with what they mend and whether they are in place."""
    return [Bridge(n, reason, _ACTIVE.get(n, False)) for n, (reason, _) in _INSTALLERS.items()]
