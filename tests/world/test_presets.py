# SPDX-License-Identifier: Apache-2.0
import pytest

from lidistill.world.presets import MINI_TRAIN, MINI_VAL, PRESETS, get_preset


def test_every_mini_preset_has_all_ten_scenes():
    for name, preset in PRESETS.items():
        size = preset.nuscenes
        if size.version == "v1.0-mini":
            assert (size.train, size.val) == (MINI_TRAIN, MINI_VAL), name
            assert size.splits is None


def test_small_is_what_the_demo_promises():
    size = get_preset("small").nuscenes
    assert (size.keyframes, size.sweeps, size.width, size.columns) == (4, 9, 400, 1084)


def test_bench_has_enough_validation_scenes_and_its_own_version():
    size = get_preset("bench").nuscenes
    assert len(size.train) >= 10
    assert len(size.val) >= 8
    assert size.keyframes == 20
    assert not size.version.endswith(("mini", "trainval", "test"))
    assert size.splits is not None
    assert not set(size.train) & set(size.val)


def test_every_kitti_preset_has_all_splits():
    for preset in PRESETS.values():
        assert min(preset.kitti.train, preset.kitti.val, preset.kitti.test) >= 1


def test_unknown_preset():
    with pytest.raises(ValueError, match="tiny, small"):
        get_preset("medium")
