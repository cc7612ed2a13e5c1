# SPDX-License-Identifier: Apache-2.0
import numpy as np

from lidistill.bench import superpixels
from lidistill.bench.superpixels import cases, real_picture, world_picture


def test_picture_and_surfaces_belong_together():
    image, surfaces = world_picture(96)
    assert image.shape == (*surfaces.shape, 3) == (54, 96, 3)
    assert len(np.unique(surfaces)) > 3
    # a surface's own colours differ less from their mean than all colours do from theirs
    spread = [image[surfaces == s].std(0).mean() for s in np.unique(surfaces)]
    weight = [(surfaces == s).mean() for s in np.unique(surfaces)]
    assert np.dot(spread, weight) < 0.8 * image.reshape(-1, 3).std(0).mean()


def test_words_tell_the_quality(monkeypatch):
    monkeypatch.delenv("LIDISTILL_REALDATA_DIR", raising=False)
    picture = world_picture(160)
    monkeypatch.setattr(superpixels, "world_picture", lambda width: picture)
    (case,) = cases("full")
    assert case.size.startswith("90 x 160, 150 segments; half against full: BR 0.")
    assert case.size.count("UE 0.") == 3
    np.testing.assert_equal(case.ours().shape, case.reference().shape)
    assert real_picture() is None


def test_a_real_frame_where_there_is_one(realdata_dir, monkeypatch):
    monkeypatch.setenv("LIDISTILL_REALDATA_DIR", str(realdata_dir))
    image = real_picture()
    assert image is None or image.shape == (900, 1600, 3)
