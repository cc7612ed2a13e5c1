# SPDX-License-Identifier: Apache-2.0
"""The whole official evaluation, from files, against ours."""

import numpy as np
import pytest

from lidistill.evaluation.label_maps import NUSCENES_CLASSES, map_labels, nuscenes_label_table
from lidistill.evaluation.miou import ConfusionMatrix

nuscenes = pytest.importorskip("nuscenes")


@pytest.fixture(scope="module")
def tables(tiny_world):
    return nuscenes.NuScenes("v1.0-mini", str(tiny_world / "nuscenes"), verbose=False)


def predict(true, seed):
    """Wrong in a third of the points, never the ignored class."""
    rng = np.random.default_rng(seed)
    guess = np.where(rng.random(len(true)) < 0.67, true, rng.integers(1, 17, len(true)))
    return np.where(guess == 0, rng.integers(1, 17, len(true)), guess).astype(np.uint8)


@pytest.mark.parametrize("wrong", [True, False])
def test_equals_lidarsegeval(tables, tmp_path, wrong):
    from nuscenes.eval.lidarseg.evaluate import LidarSegEval
    from nuscenes.utils.splits import create_splits_scenes

    folder = tmp_path / "lidarseg" / "mini_val"
    folder.mkdir(parents=True)
    matrix = ConfusionMatrix(len(NUSCENES_CLASSES))
    for number, sample in enumerate(tables.sample):
        scene = tables.get("scene", sample["scene_token"])["name"]
        if scene not in create_splits_scenes()["mini_val"]:
            continue
        token = sample["data"]["LIDAR_TOP"]
        path = f"{tables.dataroot}/{tables.get('lidarseg', token)['filename']}"
        true = map_labels(np.fromfile(path, dtype=np.uint8), nuscenes_label_table())
        predicted = predict(true, number) if wrong else np.maximum(true, 1)
        predicted.tofile(folder / f"{token}_lidarseg.bin")
        matrix.update(true, predicted)
    official = LidarSegEval(tables, str(tmp_path), "mini_val").evaluate()
    ours = matrix.iou("nuscenes")
    assert ours.miou == pytest.approx(official["miou"], rel=1e-6)
    assert wrong or ours.miou == 1.0
    for index, name in enumerate(NUSCENES_CLASSES[1:], start=1):
        expected = official["iou_per_class"][name]
        np.testing.assert_allclose(ours.per_class[index], expected, rtol=1e-6, equal_nan=True)
