# SPDX-License-Identifier: Apache-2.0
"""torchsparse 1.4.0 itself beside ours; LIDISTILL_TORCHSPARSE_PYTHON names its interpreter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill import compat
from tests.ops.oracle import Oracle, torchsparse_python
from tests.ops.torchsparse import networks
from tests.ops.torchsparse.cases import random_voxels
from tests.ops.torchsparse.test_conv import GEOMETRIES

pytest.importorskip("mmdet3d")
compat.apply()
SEEDS = st.integers(0, 10**6)
many = settings(max_examples=40, deadline=None, derandomize=True, database=None)
# torchsparse runs a strided kernel of one cell on a matrix as if it were many, and fails
RUNS_THERE = [case for case in GEOMETRIES if case[0] != 1 or case[1] == 1]


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    asked = Oracle("tests.ops.torchsparse.questions", torchsparse_python())
    assert not asked.ask("whose")["ours"]
    yield asked
    asked.close()


def same(oracle: Oracle, name: str, tolerance: float = 0.0, **arguments) -> None:
    """Ours and torchsparse's agree in names, shapes, dtypes and values."""
    from tests.ops.torchsparse import questions

    wanted = oracle.ask(name, **arguments)
    found = getattr(questions, name)(**arguments)
    assert found.keys() == wanted.keys()
    for part, expected in wanted.items():
        assert found[part].dtype == expected.dtype, part
        scale = max(1.0, np.abs(expected).max(initial=0)) if tolerance else 1.0
        np.testing.assert_allclose(
            found[part], expected, rtol=tolerance, atol=tolerance * scale, err_msg=part
        )


def one_sample(seed: int, stride: int = 1) -> np.ndarray:
    return random_voxels(seed, stride=stride, samples=1).numpy()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, (1, 2, 3), (3, 1, 5)])
def test_offsets(oracle, size) -> None:
    same(oracle, "offsets", size=size, stride=2)


@many
@given(SEEDS, st.sampled_from(RUNS_THERE))
def test_convolutions_and_transposed_ones(oracle, seed, geometry) -> None:
    """Voxels in the same order, too; start weights bit by bit."""
    size, stride, step = geometry
    coords = one_sample(seed, step)
    feats = np.random.default_rng(seed).normal(size=(len(coords), 6)).astype(np.float32)
    numbers = {"size": size, "stride": stride, "step": step}
    same(oracle, "conv", 2e-6, coords=coords, feats=feats, **numbers)


@many
@given(SEEDS, st.sampled_from([1, 2, 8]))
def test_look_up(oracle, seed, stride) -> None:
    same(oracle, "look_up", coords=one_sample(seed, stride), stride=stride)


@many
@given(SEEDS, st.sampled_from([1, 7, 200]), st.integers(1, 12))
def test_points_into_voxels(oracle, seed, count, voxels) -> None:
    rng = np.random.default_rng(seed)
    place = rng.integers(0, voxels, count).astype(np.int32)
    feats = rng.normal(size=(count, 3)).astype(np.float32)
    same(oracle, "voxelize", 1e-5, feats=feats, place=place, voxels=voxels)


@many
@given(SEEDS, st.sampled_from([1, 2, 8]))
def test_points_from_voxels(oracle, seed, scale) -> None:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(-20, 20, (30, 4)), rng.integers(-9, 9, (10, 4))])
    rows = rng.integers(-1, 5, (8, 40))
    rows[0] = -1  # so that no gradient is asked for, see below
    arrays = {"points": points.astype(np.float32), "rows": rows}
    feats = rng.normal(size=(5, 3)).astype(np.float32)
    same(oracle, "devoxelize", 1e-5, **arrays, feats=feats, scale=scale)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", networks.KINDS)
def test_networks(oracle, kind, training) -> None:
    """Start weights bit by bit, features, running statistics and the gradient of every weight."""
    arguments = {"kind": kind, "seed": 0, "training": training}
    same(oracle, "start", kind=kind)
    same(oracle, "features", 5e-5, **arguments)
    same(oracle, "gradients", 1e-9, **arguments)


def test_torchsparse_on_the_cpu_mixes_samples(oracle) -> None:
    """Neighbours of all samples are looked for in the first row's; once not so, mend the page."""
    from tests.ops.torchsparse import questions

    coords = random_voxels(0, samples=2).numpy()
    arguments = {"coords": coords, "stride": 1}
    found, theirs = questions.look_up(**arguments), oracle.ask("look_up", **arguments)
    first = coords[:, 3] == coords[0, 3]
    np.testing.assert_array_equal(found["rows"][:, first], theirs["rows"][:, first])
    assert (theirs["rows"][0] != np.arange(len(coords)))[~first].any()


def test_gradient_of_devoxelize_is_wrong_on_torchsparses_cpu(oracle) -> None:
    """It reads the gradient at the voxel's row, not at the point's; once not so, mend the page."""
    from tests.ops.torchsparse import questions

    rng = np.random.default_rng(0)
    arguments = {
        "points": rng.uniform(-4, 4, (6, 4)).astype(np.float32),
        "rows": rng.integers(0, 5, (8, 6)),
        "feats": rng.normal(size=(5, 3)).astype(np.float32),
        "scale": 1,
    }
    found, theirs = questions.devoxelize(**arguments), oracle.ask("devoxelize", **arguments)
    np.testing.assert_allclose(found["read"], theirs["read"], rtol=1e-5, atol=1e-6)
    assert np.abs(found["gradient"] - theirs["gradient"]).max() > 0.1
