# SPDX-License-Identifier: Apache-2.0
"""SLidR, PPKT, ST-SLidR, OLIVINE and ScaLR losses against the authors' own functions."""

import numpy as np
import pytest
import torch

from lidistill.losses.contrastive import (
    info_nce,
    point_infonce,
    pool_regions,
    region_infonce,
    regions_at_pairs,
    supervised_contrast,
)
from lidistill.losses.feature import normalized_l2
from lidistill.losses.sampling import density_sampling_weights, kernel_density, silverman_bandwidth
from lidistill.losses.semantic_tolerance import (
    alive_regions,
    class_balance_weights,
    tolerant_weights,
)
from lidistill.ops.segments.pixel_read import read_pixels
from lidistill.ops.segments.segment import batch_region_ids
from tests.conftest import parity_files

F32 = {"atol": 2e-6, "rtol": 2e-6}
F64 = {"atol": 1e-10, "rtol": 1e-10}


def leaf(array, dtype):
    return torch.from_numpy(np.asarray(array)).to(dtype).requires_grad_()


def close(got, expected, atol, rtol):
    np.testing.assert_allclose(np.asarray(got.detach()), expected, atol=atol, rtol=rtol)


def pool(data, points, pixel_map, dtype_compat=True):
    ids, num_regions = batch_region_ids(
        torch.from_numpy(data["superpixels"]), int(data["num_regions_per_image"])
    )
    pairs = torch.from_numpy(data["pairing_images"]).long()
    return pool_regions(
        points,
        torch.from_numpy(data["pairing_points"]),
        regions_at_pairs(ids, pairs[:, 0], pairs[:, 1:]),
        pixel_map,
        ids,
        num_regions,
        compat_channel0=dtype_compat,
    ), ids


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", parity_files("slidr", "sp_infonce_*.npz"))
def test_superpixel_infonce(path, dtype):
    data = np.load(path)
    points = leaf(data["point_feats"], dtype)
    pixel_map = leaf(data["image_feats"], dtype)
    regions, ids = pool(data, points, pixel_map)
    loss = region_infonce(regions.point_regions, regions.pixel_regions, float(data["temperature"]))
    loss.backward()

    np.testing.assert_array_equal(regions.point_count, data["region_point_count"])
    np.testing.assert_array_equal(regions.pixel_count, data["region_pixel_count"])
    np.testing.assert_array_equal(regions.region, np.flatnonzero(data["region_kept"]))
    kept = data["region_kept"]
    close(regions.point_regions, data["region_point_mean"][kept], **F32)
    close(regions.pixel_regions, data["region_pixel_mean"][kept], **F32)
    close(loss, data["loss_f64"], **(F32 if dtype == torch.float32 else F64))
    close(points.grad, data["grad_point_feats"], **F32)
    per_pixel = data["grad_image_per_region"][ids.numpy()].transpose(0, 3, 1, 2)
    close(pixel_map.grad, per_pixel, **F32)


@pytest.mark.parametrize("path", parity_files("slidr", "sp_infonce_*.npz"))
def test_count_rule_keeps_every_region_with_points(path):
    data = np.load(path)
    regions, _ = pool(
        data,
        leaf(data["point_feats"], torch.float32),
        leaf(data["image_feats"], torch.float32),
        False,
    )
    expected = np.flatnonzero((data["region_point_count"] > 0) & (data["region_pixel_count"] > 0))
    np.testing.assert_array_equal(regions.region, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", parity_files("slidr", "ppkt_infonce_*.npz"))
def test_point_infonce(path, dtype):
    data = np.load(path)
    points = leaf(data["point_feats"], dtype)
    pixel_map = leaf(data["image_feats"], dtype)
    chosen = data["sampled_pairs"]
    pairs = torch.from_numpy(data["pairing_images"][chosen]).long()
    k = points[torch.from_numpy(data["pairing_points"][chosen]).long()]
    q = read_pixels(pixel_map, pairs[:, 0], pairs[:, 1:])
    loss = point_infonce(k, q, float(data["temperature"]))
    loss.backward()

    close(loss, data["loss_f64"], **(F32 if dtype == torch.float32 else F64))
    close(points.grad, data["grad_point_feats"], **F32)
    dense = np.zeros(data["image_feats"].shape, np.float64)
    image, row, column = data["grad_image_pixels"].T
    dense[image, :, row, column] = data["grad_image_values"]
    close(pixel_map.grad, dense, **F32)


def check_weighted(data, dtype, weights, anchors, similarity):
    alive = alive_regions(similarity)
    points = leaf(data["point_regions"], dtype)
    pixels = leaf(data["pixel_regions"], dtype)
    loss = info_nce(points[alive], pixels[alive], float(data["temperature"]), weights, anchors)
    loss.backward()
    tolerance = F32 if dtype == torch.float32 else F64
    close(loss, data["loss"], **tolerance)
    close(points.grad, data["grad_point_regions"], **tolerance)
    close(pixels.grad, data["grad_pixel_regions"], **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", parity_files("slidr", "stslidr_weighted_infonce_*.npz"))
def test_tolerant_infonce(path, dtype):
    data = np.load(path)
    similarity = torch.from_numpy(data["teacher_similarity"])
    alive = alive_regions(similarity)
    weights = tolerant_weights(similarity[alive][:, alive], float(data["min_quantile"]))
    check_weighted(data, dtype, weights, None, similarity)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", parity_files("slidr", "stslidr_class_balance_*.npz"))
def test_class_balance(path, dtype):
    data = np.load(path)
    similarity = torch.from_numpy(data["teacher_similarity"])
    alive = alive_regions(similarity)
    among = similarity[alive][:, alive]
    weights = tolerant_weights(among, float(data["min_quantile"]), clip_similarity=False)
    anchors = class_balance_weights(among, float(data["noise_threshold"]))
    close(anchors, data["anchor_weights"], **F64)
    check_weighted(data, dtype, weights, anchors, similarity)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", parity_files("slidr", "olivine_supcon_*.npz"))
def test_supervised_contrast(path, dtype):
    data = np.load(path)
    points, pixels = leaf(data["points"], dtype), leaf(data["pixels"], dtype)
    labels = torch.from_numpy(data["labels"])
    loss = supervised_contrast(points, pixels, labels, float(data["temperature"]))
    loss.backward()
    tolerance = F32 if dtype == torch.float32 else F64
    close(loss, data["loss"], **tolerance)
    close(points.grad, data["grad_points"], **tolerance)
    close(pixels.grad, data["grad_pixels"], **tolerance)


@pytest.mark.parametrize("path", parity_files("slidr", "olivine_supcon_*.npz"))
def test_sampling_weights(path):
    data = np.load(path)
    distance = torch.from_numpy(data["range_index"]).float()
    bandwidth = silverman_bandwidth(distance)
    close(bandwidth, data["bandwidth"], atol=0, rtol=2e-6)
    close(kernel_density(distance, bandwidth), data["density"], atol=0, rtol=2e-6)
    weights = density_sampling_weights(distance, torch.from_numpy(data["pair_labels"]))
    close(weights, data["unnormalised_probability"], atol=0, rtol=4e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", parity_files("slidr", "scalr_l2_*.npz"))
def test_normalized_l2(path, dtype):
    data = np.load(path)
    points = leaf(data["point_feats"], dtype)
    loss = normalized_l2(points, torch.from_numpy(data["pixel_feats"]).to(dtype))
    loss.backward()
    tolerance = F32 if dtype == torch.float32 else F64
    close(loss, data["loss"], **tolerance)
    close(points.grad, data["grad_point_feats"], **tolerance)
