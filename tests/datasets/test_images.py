# SPDX-License-Identifier: Apache-2.0
"""Two views: the same scene point at matched positions, seeds, collation, messages."""

import numpy as np
import pytest
import torch

from lidistill.datasets.images import MEAN, STD, ImageCrops, collate_views, overlap
from lidistill.datasets.photometric import ColourJitter, colour_matrix
from lidistill.datasets.sampler import Draw
from lidistill.io import DataError, dump_pickle

PLAIN = {
    "hue": 0.0,
    "saturation": (1.0, 1.0),
    "grey": 0.0,
    "gain": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "gamma": 0.0,
    "noise": 0.0,
}


def ramp(height=90, width=160):
    """Colour tells the position: red = row, green = column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, height)[:, None]
    image[..., 1] = np.linspace(0, 255, width)[None]
    return image


@pytest.fixture
def world(tmp_path):
    from PIL import Image

    folder = tmp_path / "samples/CAM_FRONT"
    folder.mkdir(parents=True)
    frames = []
    for index in range(3):
        Image.fromarray(np.roll(ramp(), index, 1)).save(folder / f"{index}.png")
        frames.append({"token": f"t{index}", "images": {"CAM_FRONT": {"img_path": f"{index}.png"}}})
        frames[-1]["images"]["CAM_BACK"] = {"img_path": None}
    dump_pickle(
        tmp_path / "infos.pkl",
        {"metainfo": {"dataset": "nuscenes", "info_version": "1.1"}, "data_list": frames},
    )
    return tmp_path


def crops(world, **options):
    return ImageCrops("infos.pkl", world, **{"size": (48, 80), "points": 40, **options})


def test_matched_positions_show_the_same_scene_point(world):
    dataset = crops(world, jitter=PLAIN)
    flips = set()
    for seed in range(8):
        sample = dataset[Draw(0, seed)]
        assert sample.views.shape == (2, 3, 48, 80)
        assert sample.rowcol.shape == (2, 40, 2)
        pixels = sample.views.permute(0, 2, 3, 1).numpy() * STD + MEAN
        seen = []
        for view in (0, 1):
            row, column = sample.rowcol[view].round().long().T.numpy()
            seen.append(pixels[view, row, column])
            flips.add(bool(pixels[view, 0, 0, 1] > pixels[view, 0, -1, 1]))
        # Half a view pixel of rounding, at most two source pixels, of 90 rows and 160 columns.
        assert np.abs(seen[0][:, 0] - seen[1][:, 0]).max() < 4 / 90
        assert np.abs(seen[0][:, 1] - seen[1][:, 1]).max() < 4 / 160
    assert flips == {False, True}


def test_seed_decides_everything(world):
    dataset = crops(world)
    first, again, other = dataset[Draw(1, 5)], dataset[Draw(1, 5)], dataset[Draw(1, 6)]
    assert torch.equal(first.views, again.views)
    assert torch.equal(first.rowcol, again.rowcol)
    assert not torch.equal(first.views, other.views)
    assert torch.equal(dataset[2].views, dataset[2].views)


def test_every_image_with_a_file_counts(world):
    assert len(crops(world)) == 3
    assert len(crops(world, cameras=["CAM_FRONT"])) == 3


def test_collate(world):
    dataset = crops(world)
    batch = collate_views([dataset[0], dataset[1]])["inputs"].to("cpu")
    assert batch.views.shape == (2, 2, 3, 48, 80)
    assert torch.equal(batch.views[1, 0], dataset[0].views[1])
    assert batch.image.tolist() == [0] * 40 + [1] * 40
    assert torch.equal(batch.rowcol[:, 40:], dataset[1].rowcol)


def test_positions_stay_inside(world):
    dataset = crops(world, points=500)
    for seed in range(5):
        rowcol = dataset[Draw(0, seed)].rowcol
        assert float(rowcol.min()) >= 0
        assert torch.all(rowcol <= torch.tensor([47.0, 79.0]))


def test_overlap():
    assert overlap((0, 0, 10, 10), (5, 2, 10, 4)) == (5, 2, 5, 4)
    assert overlap((0, 0, 4, 4), (8, 0, 4, 4))[2] == 0


def test_demanding_overlap_falls_back_to_the_same_crop(world):
    dataset = crops(world, min_overlap=1.1)
    rng = np.random.default_rng(0)
    first = (10, 20, 40, 60)
    assert dataset._overlapping(first, rng, 90, 160) == first


def test_missing_and_tiny_images_name_file_and_token(world):
    (world / "samples/CAM_FRONT/1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png") as error:
        crops(world)[1]
    assert "t1" in str(error.value)
    with pytest.raises(DataError, match="at least 8 x 8"):
        crops(world).two_views(
            np.zeros((4, 9, 3), np.uint8), np.random.default_rng(0), {"path": "x", "token": "t"}
        )


def test_jitter_without_strength_changes_nothing():
    image = ramp()
    got = ColourJitter(**PLAIN)(image, np.random.default_rng(0))
    np.testing.assert_allclose(got, image / 255, atol=1e-6)


def test_colour_matrix():
    rng = np.random.default_rng(0)
    for angle, saturation in ((0.7, 1.3), (3.0, 0.2)):
        matrix = colour_matrix(angle, saturation)
        np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-12)
        colour = rng.random(3)
        before, after = colour - colour.mean(), matrix @ colour - colour.mean()
        np.testing.assert_allclose(
            np.linalg.norm(after), saturation * np.linalg.norm(before), atol=1e-12
        )
        cosine = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
        np.testing.assert_allclose(cosine, np.cos(angle), atol=1e-12)
    np.testing.assert_allclose(colour_matrix(1.0, 0.0) @ [1, 0, 0], np.full(3, 1 / 3), atol=1e-12)


def test_jitter_destroys_tint_but_keeps_texture():
    """Views of one colour spread over all hues; the pattern survives."""
    stripes = np.zeros((24, 24, 3), np.uint8)
    stripes[::4] = (200, 40, 40)
    stripes[2::4] = (100, 20, 20)
    rng = np.random.default_rng(0)
    dominant, patterns = set(), []
    for _ in range(30):
        view = ColourJitter(noise=0.0)(stripes, rng)
        bright = view[0, 0]
        if bright.max() - bright.min() > 0.1:
            dominant.add(int(bright.argmax()))
        patterns.append(abs(np.corrcoef(view.mean(2).ravel(), stripes.mean(2).ravel())[0, 1]))
        assert view.min() >= 0
        assert view.max() <= 1
        assert view.dtype == np.float32
    assert dominant == {0, 1, 2}
    assert np.mean(patterns) > 0.9
