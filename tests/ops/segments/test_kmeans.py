# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lidistill.ops.segments.kmeans import cluster_maps, kmeans, nearest


def blobs(seed: int = 0) -> torch.Tensor:
    """Sixty rows around four corners."""
    random = torch.Generator().manual_seed(seed)
    corners = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    return corners.repeat(15, 1) + 0.3 * torch.randn(60, 2, generator=random)


def naive_kmeans(rows: np.ndarray, clusters: int, iterations: int) -> np.ndarray:
    """Farthest-first start, then Lloyd, with loops."""
    centres = [max(rows, key=lambda row: ((row - rows.mean(0)) ** 2).sum())]
    while len(centres) < clusters:
        centres.append(max(rows, key=lambda row: min(((row - c) ** 2).sum() for c in centres)))
    for _ in range(iterations):
        members: list = [[] for _ in centres]
        for row in rows:
            members[int(np.argmin([((row - c) ** 2).sum() for c in centres]))].append(row)
        centres = [np.mean(m, axis=0) if m else c for m, c in zip(members, centres, strict=True)]
    return np.array(centres)


@pytest.mark.parametrize("clusters", [1, 3, 4])
def test_centres_equal_naive_loops(clusters):
    rows = blobs().double()
    expected = naive_kmeans(rows.numpy(), clusters, 20)
    np.testing.assert_allclose(kmeans(rows, clusters), expected, atol=1e-6)


def test_corners_are_found_and_again_the_same():
    centres = kmeans(blobs(), 4)
    assert sorted(centres.round().tolist()) == [[0, 0], [0, 9], [9, 0], [9, 9]]
    assert torch.equal(centres, kmeans(blobs(), 4))
    assert torch.equal(nearest(blobs(), centres).view(15, 4)[0], nearest(centres, centres)[
        nearest(blobs()[:4], centres)
    ])  # fmt: skip


def test_few_rows_give_few_clusters():
    assert len(kmeans(torch.ones(5, 3), 4)) == 1
    assert len(kmeans(torch.eye(3), 8)) == 3
    assert kmeans(torch.zeros(0, 3), 4).shape == (0, 3)


def naive_labels(maps: torch.Tensor, clusters: int, size: tuple[int, int]) -> np.ndarray:
    """The upsampled map is built, each pixel's feature compared with each centre."""
    cells = F.normalize(maps, dim=1)
    rows = cells.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    centres = naive_kmeans(rows.numpy(), clusters, 20)
    dense = F.interpolate(cells, size, mode="bilinear", align_corners=True).numpy()
    labels = np.zeros((len(maps), *size), int)
    for index in np.ndindex(*labels.shape):
        pixel = dense[index[0], :, index[1], index[2]]
        labels[index] = np.argmin([((pixel - c) ** 2).sum() for c in centres])
    return labels


def test_labels_equal_those_of_the_upsampled_map():
    maps = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = cluster_maps(maps.float(), 3, (7, 9))
    agree = (labels.numpy() == naive_labels(maps, 3, (7, 9))).mean()
    assert agree == 1.0
    assert labels.dtype == torch.int64


def test_images_clustered_together_share_labels():
    one = torch.randn(1, 5, 3, 4, generator=torch.Generator().manual_seed(1))
    labels = cluster_maps(torch.cat([one, one.flip(3)]), 3, (3, 4))
    assert torch.equal(labels[0], labels[1].flip(1))


def test_position_makes_regions_compact():
    maps = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(2))

    def borders(position: float) -> int:
        labels = cluster_maps(maps, 4, (6, 6), position)[0]
        return int((labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum())

    assert borders(20.0) < borders(0.0)


def test_errors():
    with pytest.raises(ValueError, match="clusters >= 1"):
        kmeans(torch.zeros(3, 2), 0)
    with pytest.raises(ValueError, match="position >= 0"):
        cluster_maps(torch.zeros(1, 2, 3, 4), 2, (3, 4), position=-1.0)
