# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lidistill.visualization.bev import BACKGROUND
from lidistill.visualization.embeddings import embedding_picture


def cloud(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    points = rng.uniform(-30, 30, (count, 3))
    embeddings = np.eye(4)[(points[:, 0] > 0).astype(int)] + rng.normal(0, 0.01, (count, 4))
    return points, embeddings


def test_equal_embeddings_have_equal_colours():
    points, embeddings = cloud()
    pixels = np.zeros((2, 4, 3, 5))
    pixels[0, 0] = 7.0  # as the points on the left, seven times as long
    pixels[1, 1] = 1.0
    picture = embedding_picture(points, embeddings, pixels, size=200)
    assert picture.shape[0] == 200
    assert picture.dtype == np.uint8
    cameras = picture[50, 208:]
    left, right = cameras[10].astype(int), cameras[-10].astype(int)
    seen = picture[:, :200].reshape(-1, 3)
    drawn = seen[np.abs(seen.astype(int) - BACKGROUND).sum(1) > 150].astype(int)
    for colour in (left, right):
        assert np.abs(drawn - colour).sum(1).min() < 30
    assert np.abs(left - right).sum() > 100


def test_without_cameras_there_is_the_cloud():
    points, embeddings = cloud()
    picture = embedding_picture(points, embeddings, np.zeros((0, 4, 0, 0)), size=120)
    assert picture.shape == (120, 120, 3)


@pytest.mark.parametrize("count", [0, 1])
def test_a_sample_with_hardly_a_point_is_drawn(count):
    points, embeddings = cloud(count)
    pixels = np.random.default_rng(1).normal(size=(2, 4, 3, 5))
    picture = embedding_picture(points, embeddings.reshape(count, 4), pixels, size=120)
    assert len(np.unique(picture[:, 128:].reshape(-1, 3), axis=0)) > 10
    alone = embedding_picture(points, embeddings.reshape(count, 4), np.zeros((0, 4, 0, 0)), 120)
    assert alone.shape == (120, 120, 3)
