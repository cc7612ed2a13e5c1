# SPDX-License-Identifier: Apache-2.0
"""Where the tensors of our students stand in other projects' networks, and in which order.

A layout gives, for every module of a student that holds tensors, the module's name elsewhere
(none: it does not exist there), and how a kernel is stored there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Size, Tensor, nn

from lidistill.export import kernels
from lidistill.models.backbones.sparse_unet import SparseUNet


@dataclass(frozen=True)
class Order:
    """How one kind of tensor is stored elsewhere.

    Attributes:
        theirs: ours -> theirs.
        ours: theirs and the shape ours must get -> ours. Neither copies where nothing changes.
        words: what is done, for the report.
    """

    theirs: Callable[[Tensor], Tensor]
    ours: Callable[[Tensor, Size], Tensor]
    words: str = ""


@dataclass(frozen=True)
class Link:
    """One tensor: its name here and there, and how it is converted."""

    ours: str
    theirs: str
    order: Order
    shape: Size


@dataclass(frozen=True)
class Layout:
    """Names and kernel orders of a network elsewhere.

    Attributes:
        name: for messages.
        modules: student -> names elsewhere of its modules; those not named do not exist there.
        kernel: what a kernel is called: ``weight`` or ``kernel``.
        conv: order of convolutions of more than one cell.
        linear: order of linear layers and 1x1x1 convolutions.
        bias: shape of a bias.
    """

    name: str
    modules: Callable[[nn.Module], dict[str, str]]
    kernel: str
    conv: Order
    linear: Order
    bias: Order

    def links(self, student: nn.Module) -> list[Link]:
        """Every tensor of ``student`` that exists elsewhere."""
        places = self.modules(student)
        return [
            self._link(module, leaf, tensor, f"{name}.", f"{places[name]}.")
            for name, module in holders(student)
            if name in places
            for leaf, tensor in module.state_dict().items()
        ]

    def _link(self, module: nn.Module, leaf: str, tensor: Tensor, ours: str, theirs: str) -> Link:
        if isinstance(module, nn.BatchNorm1d):
            return Link(ours + leaf, theirs + leaf, SAME, tensor.shape)
        if leaf == "bias":
            return Link(ours + leaf, theirs + leaf, self.bias, tensor.shape)
        order = self.linear if isinstance(module, nn.Linear) else self.conv
        return Link(ours + leaf, theirs + self.kernel, order, tensor.shape)


def holders(student: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules of ``student`` that hold tensors themselves, with their names."""
    for name, module in student.named_modules():
        if next(module.children(), None) is None and module.state_dict():
            yield name, module


def _all(student: nn.Module) -> dict[str, str]:
    return {name: name for name, _ in holders(student)}


def _without_final(student: nn.Module) -> dict[str, str]:
    return {name: name for name in _all(student) if name != "final"}


def _norms_within(student: nn.Module) -> dict[str, str]:
    """MinkowskiEngine wraps every batch norm in a module that calls it ``bn``."""
    return {
        name: f"{name}.bn" if isinstance(module, nn.BatchNorm1d) else name
        for name, module in holders(student)
    }


def _sparse_encoder(student: nn.Module) -> dict[str, str]:
    """mmdet3d's ``SparseEncoder``: ``conv2.0`` is ``encoder_layers.encoder_layer2.0``."""
    return {
        name: f"encoder_layers.encoder_layer{name.removeprefix('conv')}"
        if name[4].isdigit()
        else name
        for name in _without_final(student)
    }


def _minkunet(student: nn.Module) -> dict[str, str]:
    """mmdet3d's ``MinkUNetBackbone`` with spconv: stages are numbered, blocks stand in rows."""
    if not isinstance(student, SparseUNet):
        raise TypeError(f"expected a SparseUNet, got {type(student).__name__}")
    levels = student.levels
    heads = {"conv0p1s1": "conv_input.0.0", "bn0": "conv_input.0.1"}
    for level in range(levels):
        heads[f"conv{level + 1}p{2**level}s2"] = f"encoder.{level}.0.0"
        heads[f"bn{level + 1}"] = f"encoder.{level}.0.1"
        stage = levels + level
        heads[f"convtr{stage}p{2 ** (levels - level)}s2"] = f"decoder.{level}.0.0"
        heads[f"bntr{stage}"] = f"decoder.{level}.0.1"
    return {
        name: heads[name] if name in heads else _minkunet_block(name, levels)
        for name in _without_final(student)
    }


def _minkunet_block(name: str, levels: int) -> str:
    block, index, inside = name.split(".", 2)
    stage = int(block.removeprefix("block")) - 1
    inside = inside.replace("norm", "bn")
    if stage < levels:
        return f"encoder.{stage}.{int(index) + 1}.{inside}"
    return f"decoder.{stage - levels}.1.{index}.{inside}"


def _spconv2(weight: Tensor, shape: Size) -> Tensor:
    """Kernels of spconv 1 are told by their shape; what fits neither way stays as it is."""
    if weight.shape == shape or weight.ndim != 5:
        return weight
    turned = kernels.spconv2_from_spconv1(weight)
    return turned if turned.shape == shape else weight


SAME = Order(lambda t: t, lambda t, _: t)
_FROM_SPCONV1 = Order(lambda t: t, _spconv2, "from spconv 1's (kernel, in, out)")
_ROW = Order(lambda b: b.unsqueeze(0), lambda b, _: b.squeeze(0), "a bias is a row there")
_MATRIX = Order(
    kernels.pointwise_from_linear,
    lambda t, _: kernels.linear_from_pointwise(t),
    "1x1x1 kernel (in, out) and linear weight (out, in)",
)

LIDISTILL = Layout("lidistill", _all, "weight", _FROM_SPCONV1, SAME, SAME)
"""Names of our own; also SLidR's VoxelNet, and OpenPCDet's VoxelBackBone8x with ``final``."""

OPENPCDET = Layout("OpenPCDet's VoxelBackBone8x", _without_final, "weight", SAME, SAME, SAME)

MINKOWSKI = Layout(
    "SLidR's MinkUNet (MinkowskiEngine)",
    _norms_within,
    "kernel",
    Order(
        kernels.minkowski_from_spconv,
        lambda t, _: kernels.spconv_from_minkowski(t),
        "MinkowskiEngine (K^3, in, out) and spconv (out, z, y, x, in)",
    ),
    _MATRIX,
    _ROW,
)

TORCHSPARSE = Layout(
    "a MinkUNet in torchsparse",
    _all,
    "kernel",
    Order(
        kernels.torchsparse_from_spconv,
        lambda t, _: kernels.spconv_from_torchsparse(t),
        "torchsparse (K^3, in, out), even sizes z fastest, and spconv (out, z, y, x, in)",
    ),
    _MATRIX,
    SAME,
)

SPARSE_ENCODER = Layout(
    "mmdet3d's SparseEncoder", _sparse_encoder, "weight", _FROM_SPCONV1, SAME, SAME
)

MINKUNET = Layout(
    "mmdet3d's MinkUNetBackbone (spconv)",
    _minkunet,
    "weight",
    Order(
        kernels.swap_xyz_zyx,
        lambda t, _: kernels.swap_xyz_zyx(t),
        "kernel axes z y x here, x y z there, as its coordinates",
    ),
    Order(
        kernels.spconv_pointwise_from_linear,
        lambda t, _: kernels.linear_from_spconv_pointwise(t),
        "1x1x1 in spconv: memory (in, out)",
    ),
    SAME,
)
