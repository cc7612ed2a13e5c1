# SPDX-License-Identifier: Apache-2.0
"""One composed scene, shared by the tests of the world."""

from __future__ import annotations

import pytest

from lidistill.world.scene.compose import compose
from lidistill.world.scene.scene import Scene, Snapshot
from lidistill.world.scene.site import Profile


@pytest.fixture(scope="session")
def scene() -> Scene:
    return compose("test", (3, 1), 4.0, Profile())


@pytest.fixture(scope="session")
def snapshot(scene: Scene) -> Snapshot:
    return scene.snapshot(1.5)
