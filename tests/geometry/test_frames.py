# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from pyquaternion import Quaternion

from lidistill.geometry.frames import (
    apply_transform,
    compose,
    invert,
    make_transform,
    mirror,
    quaternion_to_matrix,
    rotation_about_z,
)


def random_transform(rng: np.random.Generator) -> np.ndarray:
    return make_transform(rng.normal(size=4), rng.normal(size=3) * 1000)


def test_quaternion_equals_pyquaternion():
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = rng.normal(size=4)
        np.testing.assert_allclose(
            quaternion_to_matrix(q), Quaternion(q).normalised.rotation_matrix, atol=1e-12
        )


def test_quaternion_of_any_length_gives_a_rotation():
    matrix = quaternion_to_matrix([2.0, 0.0, 0.0, 2.0])  # 90 degrees about z
    np.testing.assert_allclose(matrix, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [1, 0, 0]])
def test_quaternion_refuses(bad):
    with pytest.raises(ValueError, match="quaternion"):
        quaternion_to_matrix(bad)


def test_make_transform_takes_quaternion_or_matrix():
    q, t = np.array([0.9, 0.1, -0.3, 0.2]), np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(make_transform(q, t), make_transform(quaternion_to_matrix(q), t))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        make_transform(np.eye(2), t)


def test_invert_and_compose_undo_each_other_also_batched():
    rng = np.random.default_rng(1)
    stack = np.stack([random_transform(rng) for _ in range(5)])
    np.testing.assert_allclose(
        compose(invert(stack), stack), np.broadcast_to(np.eye(4), (5, 4, 4)), atol=1e-12
    )
    flipped = compose(mirror((True, False, False)), stack[0])
    np.testing.assert_allclose(invert(flipped), np.linalg.inv(flipped), atol=1e-9)
    with pytest.raises(ValueError, match="at least one"):
        compose()


def test_compose_is_the_chain_applied_point_by_point():
    rng = np.random.default_rng(2)
    a_from_b, b_from_c = random_transform(rng), random_transform(rng)
    points = rng.normal(size=(7, 3))
    chained = []
    for point in points:
        in_b = b_from_c[:3, :3] @ point + b_from_c[:3, 3]
        chained.append(a_from_b[:3, :3] @ in_b + a_from_b[:3, 3])
    np.testing.assert_allclose(
        apply_transform(compose(a_from_b, b_from_c), points), chained, rtol=1e-12
    )


def test_apply_transform_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        apply_transform(np.eye(3), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        apply_transform(np.eye(4), np.zeros((2, 4)))


def test_rotation_about_z_turns_x_towards_y():
    turned = apply_transform(rotation_about_z(np.pi / 2), np.array([[1.0, 0.0, 5.0]]))
    np.testing.assert_allclose(turned, [[0.0, 1.0, 5.0]], atol=1e-15)


def test_mirror_negates_the_marked_axes():
    np.testing.assert_array_equal(
        apply_transform(mirror((False, True, False)), np.array([[1.0, 2.0, 3.0]])), [[1, -2, 3]]
    )
