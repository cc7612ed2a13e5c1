# SPDX-License-Identifier: Apache-2.0
"""Both sides of the bench complete the same frames."""

import numpy as np

from lidistill.bench.objects.object_complete import FULL, QUICK, MadeScene, cases
from lidistill.converters.object_bank.compose import compose


def test_both_sides_agree():
    scene = MadeScene(QUICK)
    assert scene.reference() == scene.ours() > QUICK.frames * QUICK.points
    clouds = [scene._object(number) for number in range(QUICK.objects)]
    for number, cloud in enumerate(clouds):
        np.testing.assert_allclose(cloud[:, :3], scene.bank.cloud(number), atol=1.5e-3)
    points = scene.tracks.frames[1].read()
    ours = compose(points, scene.bank, 1).cloud
    theirs = scene._patched(1, clouds)
    order = [np.lexsort(np.round(each[:, [3, 0]], 1).T) for each in (ours, theirs)]
    assert len(order[0]) == len(order[1])
    np.testing.assert_allclose(np.sort(ours[:, 0]), np.sort(theirs[:, 0]), atol=2e-3)


def test_the_full_case_has_the_issue_s_size():
    assert (FULL.frames, FULL.points, FULL.objects) == (40, 35_000, 40)
    assert cases("quick")[0].reference is not None
