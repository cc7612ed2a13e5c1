# SPDX-License-Identifier: Apache-2.0
"""Segment reductions against loops, and the low-resolution pooling against dense upsampling."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lidistill.ops.segments import _segment_kernels as kernels
from lidistill.ops.segments import segment as segment_ops
from lidistill.ops.segments.segment import (
    batch_region_ids,
    label_map_mean,
    label_map_sum,
    pool_map_regions_lowres,
    segment_count,
    segment_mean,
    segment_sum,
)


def wavy_labels(images, height, width, rng):
    """Blobs plus noise, some pixels without region."""
    labels = (np.arange(height)[:, None] // 3 * 3 + np.arange(width)[None] // 4) % 7
    labels = np.repeat(labels[None], images, 0)
    noise = rng.random(labels.shape) < 0.2
    labels[noise] = rng.integers(-1, 7, noise.sum())
    return torch.from_numpy(labels)


def loop_rows(values, ids, num_segments):
    sums, counts = np.zeros((num_segments, values.shape[1])), np.zeros(num_segments, int)
    for row, segment in zip(values, ids, strict=True):
        if segment >= 0:
            sums[segment] += row
            counts[segment] += 1
    return sums, counts


def loop_map(maps, ids, num_regions):
    pixels = maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])
    return loop_rows(pixels, ids.reshape(-1), num_regions)


def test_rows_equal_a_loop():
    rng = np.random.default_rng(0)
    values, ids = rng.normal(size=(50, 5)), rng.integers(-1, 9, 50)
    ids[ids == 4] = 3  # segment 4 is empty
    sums, counts = loop_rows(values, ids, 9)
    got_mean, got_count = segment_mean(torch.from_numpy(values), torch.from_numpy(ids), 9)
    np.testing.assert_allclose(
        segment_sum(torch.from_numpy(values), torch.from_numpy(ids), 9), sums, atol=1e-12
    )
    np.testing.assert_array_equal(got_count, counts)
    np.testing.assert_allclose(got_mean, sums / np.maximum(counts, 1)[:, None], atol=1e-12)
    assert counts[4] == 0
    assert torch.all(got_mean[4] == 0)


def test_eps_is_added_to_the_count():
    mean, _ = segment_mean(torch.ones(2, 1, dtype=torch.float64), torch.tensor([0, 0]), 2, eps=1.0)
    assert mean.flatten().tolist() == [2 / 3, 0.0]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_equal_a_loop(dtype, threads):
    rng = np.random.default_rng(1)
    maps = torch.from_numpy(rng.normal(size=(3, 5, 13, 17))).to(dtype)
    ids, num_regions = batch_region_ids(wavy_labels(3, 13, 17, rng))
    sums, counts = loop_map(maps.numpy(), ids.numpy(), num_regions)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        mean, count = label_map_mean(maps, ids, num_regions)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(count, counts)
    np.testing.assert_allclose(mean, sums / np.maximum(counts, 1)[:, None], atol=1e-6)
    assert mean.dtype == dtype


def test_map_sum_gradient():
    rng = np.random.default_rng(2)
    maps = torch.from_numpy(rng.normal(size=(2, 3, 4, 5))).requires_grad_()
    ids, num_regions = batch_region_ids(wavy_labels(2, 4, 5, rng))
    assert torch.autograd.gradcheck(lambda x: label_map_sum(x, ids, num_regions), maps)


def test_non_contiguous_maps_and_small_id_types():
    rng = np.random.default_rng(3)
    base = torch.from_numpy(rng.normal(size=(2, 8, 9, 4)))
    maps = base.permute(0, 3, 1, 2)
    labels = torch.from_numpy(rng.integers(0, 5, (2, 8, 9)).astype(np.uint8))
    expected, _ = loop_map(maps.numpy(), labels.numpy(), 5)
    np.testing.assert_allclose(label_map_sum(maps, labels, 5), expected, atol=1e-12)


def test_half_precision_is_summed_in_float32():
    maps = torch.full((1, 2, 100, 100), 0.1, dtype=torch.bfloat16, requires_grad=True)
    ids = torch.zeros(1, 100, 100, dtype=torch.long)
    total = label_map_sum(maps, ids, 1)
    total.sum().backward()
    assert total.dtype == torch.float32
    assert abs(float(total.detach()[0, 0]) - 1e4 * float(maps.detach()[0, 0, 0, 0])) < 1e-2
    assert maps.grad.dtype == torch.bfloat16
    rows = segment_sum(maps.flatten(2)[0].T, ids.flatten(), 1)
    assert abs(float(rows.detach()[0, 0]) - 1e4 * float(maps.detach()[0, 0, 0, 0])) < 1e-1


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(9, 13), (12, 20), (3, 5), (1, 1)])
@pytest.mark.parametrize("at_once", [1, 300, 2**18])
def test_lowres_pooling_equals_dense_upsampling(monkeypatch, align_corners, size, at_once):
    monkeypatch.setitem(segment_ops._WEIGHTS_AT_ONCE, False, at_once)
    rng = np.random.default_rng(4)
    low = torch.from_numpy(rng.normal(size=(4, 4, 3, 5)))
    labels = torch.from_numpy(rng.integers(-1, 6, (4, *size)))
    labels[1], labels[3] = -1, labels[3].clamp(max=2)  # none at all; fewer than the others
    ids, num_regions = batch_region_ids(labels, 6)
    dense, sparse = low.clone().requires_grad_(), low.clone().requires_grad_()
    upsampled = F.interpolate(dense, size, mode="bilinear", align_corners=align_corners)
    expected, expected_count = label_map_mean(upsampled, ids, num_regions, 1e-6)
    got, count = pool_map_regions_lowres(sparse, ids, num_regions, align_corners, 1e-6)
    pull = torch.from_numpy(rng.normal(size=got.shape))
    (expected * pull).sum().backward()
    (got * pull).sum().backward()
    np.testing.assert_array_equal(count, expected_count)
    np.testing.assert_allclose(got.detach(), expected.detach(), atol=1e-12)
    np.testing.assert_allclose(sparse.grad, dense.grad, atol=1e-12)


def test_no_region_at_all_is_zero_with_gradient():
    low = torch.randn(1, 2, 3, 4, requires_grad=True)
    nowhere = torch.full((1, 6, 8), -1)
    for mean, count in (
        pool_map_regions_lowres(low, nowhere, 3),
        label_map_mean(low, nowhere[:, :3, :4], 3),
        segment_mean(low.flatten(2)[0].T, nowhere[0, 0, :8].repeat(2)[:12], 3),
    ):
        low.grad = None
        mean.sum().backward()
        assert count.tolist() == [0, 0, 0]
        assert torch.all(mean == 0)
        assert torch.all(low.grad == 0)


def test_batch_region_ids():
    labels = torch.tensor([[[0, 2]], [[1, -1]], [[0, 1]]])
    ids, total = batch_region_ids(labels)
    assert ids.tolist() == [[[0, 2]], [[4, -1]], [[5, 6]]]
    assert total == 7
    ids, total = batch_region_ids(labels, 150)
    assert ids.tolist() == [[[0, 2]], [[151, -1]], [[300, 301]]]
    assert total == 450
    ids, total = batch_region_ids(labels, scope=torch.tensor([0, 0, 1]))
    assert ids.tolist() == [[[0, 2]], [[1, -1]], [[3, 4]]]
    assert total == 5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32])
@pytest.mark.parametrize("num_labels", [None, 150])
def test_batch_region_ids_of_any_integers(dtype, num_labels):
    labels = torch.randint(0, 150, (3, 5, 6))
    labels[0, 0, 0] = -1 if dtype.is_signed else 7
    given = labels.to(dtype)
    ids, total = batch_region_ids(given, num_labels)
    expected, expected_total = batch_region_ids(labels, num_labels)
    assert torch.equal(ids, expected)
    assert total == expected_total
    assert torch.equal(given, labels.to(dtype))  # left as it was


@pytest.mark.parametrize("channels", range(1, 10))
def test_any_number_of_channels(channels):
    rng = np.random.default_rng(channels)
    maps = torch.from_numpy(rng.normal(size=(2, channels, 6, 7)))
    ids, num_regions = batch_region_ids(wavy_labels(2, 6, 7, rng))
    expected, _ = loop_map(maps.numpy(), ids.numpy(), num_regions)
    np.testing.assert_allclose(label_map_sum(maps, ids, num_regions), expected, atol=1e-12)


def test_counts_ignore_negative_ids():
    assert segment_count(torch.tensor([[0, 2], [-1, 2]]), 4).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: batch_region_ids(torch.tensor([[[0, 150]]]), 150), "must lie below 150, got 150"),
        (lambda: segment_sum(torch.ones(2, 1), torch.tensor([0, 3]), 3), "below 3, got 3"),
        (lambda: segment_sum(torch.ones(2, 1), torch.tensor([0.0, 1.0]), 3), "must be integers"),
        (lambda: segment_sum(torch.ones(2, 1), torch.tensor([0]), 3), "expected values"),
        (
            lambda: label_map_sum(torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 3).long(), 3),
            r"region_ids \(B, H, W\), got",
        ),
        (lambda: batch_region_ids(torch.zeros(2, 2).long()), "expected labels"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_kernels_of_other_devices_agree():
    """What runs on a GPU, run on the CPU and compared with the numba kernels."""
    rng = np.random.default_rng(5)
    maps = torch.from_numpy(rng.normal(size=(3, 4, 9, 11)))
    ids, count = batch_region_ids(wavy_labels(3, 9, 11, rng))
    flat = torch.where(ids < 0, count, ids).to(torch.int32).flatten(1)
    torch.testing.assert_close(
        kernels.map_sum_torch(maps.flatten(2), flat, count), kernels.map_sum(maps, flat, count)
    )
    rows = torch.from_numpy(rng.normal(size=(count, 4)))
    torch.testing.assert_close(
        kernels.spread_rows_torch(rows, flat), kernels.spread_rows(rows, flat)
    )
    for align in (True, False):
        axes = [kernels.axis_weights(low, high, align) for low, high in ((4, 9), (3, 11))]
        torch.testing.assert_close(
            kernels.interpolation_weights_torch(ids, count, (4, 3), *axes),
            kernels.interpolation_weights(ids, count, (4, 3), align),
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_equals_cpu():
    rng = np.random.default_rng(6)
    maps = torch.from_numpy(rng.normal(size=(2, 8, 28, 52))).float()
    ids, count = batch_region_ids(wavy_labels(2, 28, 52, rng))
    for function in (label_map_mean, pool_map_regions_lowres):
        results = []
        for device in ("cpu", "cuda"):
            leaf = maps.detach().clone().to(device).requires_grad_()
            mean, counts = function(leaf, ids.to(device), count)
            mean.square().sum().backward()
            results.append((mean.cpu(), counts.cpu(), leaf.grad.cpu()))
        for here, there in zip(*results, strict=True):
            torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("none", [-1, -(2**32), -(2**63)])
def test_any_negative_id_belongs_to_no_segment(none):
    """-2**63 is what NaN becomes; 32 bits of it are 0."""
    ids = torch.tensor([0, none, 1])
    assert segment_count(ids, 2).tolist() == [1, 1]
    assert segment_sum(torch.ones(3, 1), ids, 2).tolist() == [[1], [1]]
    sums = label_map_sum(torch.ones(1, 1, 1, 3), ids.view(1, 1, 3), 2)
    assert sums.tolist() == [[1], [1]]
