# SPDX-License-Identifier: Apache-2.0
import types

import numpy as np
import pytest

from lidistill.evaluation import label_maps


@pytest.fixture
def devkit_mapper():
    """The devkit's mapper on a stand-in for the tables: it reads names and indices only."""
    utils = pytest.importorskip("nuscenes.eval.lidarseg.utils")
    color_map = pytest.importorskip("nuscenes.utils.color_map")
    names = sorted(color_map.get_colormap())
    names.sort(key=label_maps.NUSCENES_FINE_CLASSES.index)
    nusc = types.SimpleNamespace(
        colormap=color_map.get_colormap(),
        category=[{"name": name, "index": i} for i, name in enumerate(names)],
        lidarseg_idx2name_mapping=dict(enumerate(names)),
        lidarseg_name2idx_mapping={name: i for i, name in enumerate(names)},
    )
    return utils.LidarsegClassMapper(nusc)


def test_table_equals_the_devkit(devkit_mapper):
    expected = devkit_mapper.fine_idx_2_coarse_idx_mapping
    table = label_maps.nuscenes_label_table()
    assert {fine: int(coarse) for fine, coarse in enumerate(table)} == expected


def test_class_names_equal_the_devkit(devkit_mapper):
    by_index = sorted(
        devkit_mapper.coarse_name_2_coarse_idx_mapping.items(), key=lambda item: item[1]
    )
    assert tuple(name for name, _ in by_index) == label_maps.NUSCENES_CLASSES


def test_map_labels_equals_the_devkit(devkit_mapper):
    labels = np.random.default_rng(0).integers(0, 32, 1000).astype(np.uint8)
    ours = label_maps.map_labels(labels, label_maps.nuscenes_label_table())
    np.testing.assert_array_equal(ours, devkit_mapper.convert_label(labels))
    assert ours.dtype == np.uint8


def test_map_labels_of_nothing():
    assert label_maps.map_labels(np.zeros(0, np.uint8), label_maps.nuscenes_label_table()).size == 0


@pytest.mark.parametrize("bad", [[-1, 0], [0, 32]])
def test_map_labels_outside_the_table(bad):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.31, got"):
        label_maps.map_labels(np.array(bad), label_maps.nuscenes_label_table())


def test_one_distinct_colour_a_class():
    assert label_maps.NUSCENES_COLOURS.shape == (len(label_maps.NUSCENES_CLASSES), 3)
    assert len({tuple(colour) for colour in label_maps.NUSCENES_COLOURS}) == 17
