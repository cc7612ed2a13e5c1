# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lidistill.ops.points.map_read import PointReader, read_cells

COUNTS = (7, 0, 5)


def drawn():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, 6, 9, generator=generator, dtype=torch.float64)
    cells = torch.rand(12, 2, generator=generator, dtype=torch.float64)
    return maps, cells * torch.tensor([8.0, 11.0]) - 1  # some outside


def by_loops(maps, cells):
    sample = [b for b, count in enumerate(COUNTS) for _ in range(count)]
    rows = []
    for b, (v, u) in zip(sample, (cells - 0.5).tolist(), strict=True):
        row = maps.new_zeros(maps.shape[1])
        for i in (math.floor(v), math.floor(v) + 1):
            for j in (math.floor(u), math.floor(u) + 1):
                if 0 <= i < maps.shape[2] and 0 <= j < maps.shape[3]:
                    row = row + (1 - abs(v - i)) * (1 - abs(u - j)) * maps[b, :, i, j]
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradient_equal_loops(memory):
    maps, cells = drawn()
    ours, theirs = (maps.clone(memory_format=memory).requires_grad_() for _ in range(2))
    found, expected = PointReader(cells, COUNTS, (6, 9))(ours), by_loops(theirs, cells)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    found.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_no_points_are_no_rows_with_gradient(memory):
    maps = drawn()[0].contiguous(memory_format=memory).requires_grad_()
    found = PointReader(torch.zeros(0, 2), (0, 0, 0), (6, 9))(maps)
    assert found.shape == (0, 4)
    found.sum().backward()
    assert not maps.grad.any()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_half_precision_is_read_at_the_same_places(memory):
    made = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 4, 128, 128, generator=made).bfloat16().to(memory_format=memory)
    read = PointReader(torch.rand(200, 2, generator=made) * 120 + 4, [200], (128, 128))
    torch.testing.assert_close(read(maps), read(maps.float()).bfloat16(), atol=0.02, rtol=0.01)


def test_cells_are_rows():
    maps = drawn()[0].requires_grad_()
    index = torch.tensor([0, 53, 54, 54, 161])
    found = read_cells(maps, index)
    expected = maps.permute(0, 2, 3, 1).reshape(-1, 4)[index]
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert maps.grad.sum() == 20
    assert read_cells(maps, index[:0]).shape == (0, 4)


def test_errors_name_the_sizes():
    maps, cells = drawn()
    with pytest.raises(ValueError, match=r"cells \(11, 2\)"):
        PointReader(cells, (6, 5), (6, 9))
    with pytest.raises(ValueError, match=r"map \(3, C, 9, 6\), got \(3, 4, 6, 9\)"):
        PointReader(cells, COUNTS, (9, 6))(maps)
