# SPDX-License-Identifier: Apache-2.0
"""``lidistill depth_maps`` on the tiny world and on real frames."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from lidistill import cli
from lidistill.datasets.bev.depth_maps import read_depth


def command(root, out, *words):
    info = root / "kitti_infos_val.pkl"
    return cli.main(["depth_maps", str(info), "--root", str(root), "--out", str(out), *words])


def test_maps_pictures_and_a_second_run(converted_world, tmp_path, capsys):
    root = converted_world / "kitti"
    assert command(root, tmp_path / "dense", "--pictures", "1") == 0
    assert command(root, tmp_path / "sparse", "--sparse") == 0
    names = sorted(path.name for path in (tmp_path / "dense").glob("*.png"))
    assert names == sorted(path.name for path in (tmp_path / "sparse").glob("*.png"))
    dense, sparse = (read_depth(tmp_path / form / names[0]) for form in ("dense", "sparse"))
    with Image.open(root / "training" / "image_2" / names[0].partition("_")[2]) as image:
        assert dense.shape == sparse.shape == (image.height, image.width)
    known = sparse > 0
    assert 0.005 < known.mean() < (dense > 0).mean()
    np.testing.assert_array_equal(dense[known], sparse[known])
    assert len(list((tmp_path / "dense" / "pictures").glob("*.jpg"))) == 1
    assert json.loads((tmp_path / "dense" / "manifest.json").read_text())["count"] == len(names)
    (tmp_path / "dense" / names[0]).unlink()
    capsys.readouterr()
    assert command(root, tmp_path / "dense") == 0
    assert "1 made now" in capsys.readouterr().out
    assert command(root, tmp_path / "dense", "--sparse") == 1
    assert "The maps here are dense" in " ".join(capsys.readouterr().err.split())
