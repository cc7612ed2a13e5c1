# SPDX-License-Identifier: Apache-2.0
"""Several image teachers at once, and what is a region."""

import dataclasses

import pytest
import torch
from torch import nn

from lidistill.distill.audit import audit
from lidistill.distill.connectors import ProjectionMap
from lidistill.distill.regions import SuperpixelRegions, close_gaps
from lidistill.methods import PPKT, ScaLR, SLidR, STSLidR
from tests.toy_pairs import CAMERAS, LABELS, make_batch, networks


def two_teachers(with_image_head: bool = True) -> dict:
    """The toy networks with two teachers of different widths and strides."""
    parts = networks()
    torch.manual_seed(1)
    wide = 7
    parts["teacher"] = {
        "fine": networks()["teacher"],
        "coarse": {"model": nn.Conv2d(3, wide, 2, stride=2)},
    }
    if with_image_head:
        parts["image_head"] = {"fine": ProjectionMap(4, 5), "coarse": ProjectionMap(wide, 5)}
        parts["point_head"] = {"fine": nn.Linear(6, 5), "coarse": nn.Linear(6, 5)}
    else:
        del parts["image_head"]
        parts["point_head"] = {"fine": nn.Linear(6, 4), "coarse": nn.Linear(6, wide)}
    return parts


def alone(method: type, parts: dict, name: str) -> nn.Module:
    """The same student and heads, with one of the two teachers."""
    single = {**parts, **{key: parts[key][name] for key in parts if key.endswith(("head", "her"))}}
    return method(**single).train()


@pytest.mark.parametrize("method", [SLidR, STSLidR, PPKT, ScaLR])
def test_each_term_is_that_of_its_teacher_alone(method):
    parts, batch = two_teachers(method is not ScaLR), make_batch()
    term = "l2" if method is ScaLR else "infonce"
    both = method(**parts, weights={f"{term}_coarse": 0.25}).train()
    losses = both(batch, mode="loss")
    for name, weight in (("fine", 1.0), ("coarse", 0.25)):
        single = alone(method, parts, name)(batch, mode="loss")[f"loss_{term}"]
        torch.testing.assert_close(losses[f"loss_{term}_{name}"], weight * single)
    assert f"loss_{term}" not in losses


def test_every_term_teaches_the_student_and_its_own_heads():
    norms = audit(SLidR(**two_teachers()).train(), make_batch()).gradient_norms
    assert set(norms) == {"infonce_fine", "infonce_coarse"}
    for name, other in (("fine", "coarse"), ("coarse", "fine")):
        groups = norms[f"infonce_{name}"]
        assert groups["student"] > 0
        assert groups[f"connectors.image_{name}"] > 0
        assert groups[f"connectors.point_{other}"] == 0


def test_heads_must_carry_the_names_of_the_teachers():
    parts = two_teachers()
    with pytest.raises(ValueError, match=r"point_head must name .*'coarse', 'fine'.*got Linear"):
        SLidR(**{**parts, "point_head": nn.Linear(6, 5)})
    parts["image_head"].pop("fine")
    with pytest.raises(ValueError, match=r"image_head must name .*got \['coarse'\]"):
        SLidR(**parts)


def naive_region_ids(batch, scope: str) -> dict[tuple[int, int], set]:
    """Pixels of each (image or sample, label)."""
    found: dict = {}
    for image, labels in enumerate(batch.superpixels.tolist()):
        owner = image if scope == "image" else int(batch.image_batch[image])
        for row, line in enumerate(labels):
            for column, label in enumerate(line):
                if label >= 0:
                    found.setdefault((owner, label), set()).add((image, row, column))
    return found


@pytest.mark.parametrize("scope", ["image", "sample"])
@pytest.mark.parametrize("factor", [1, 1000])
def test_regions_of_an_image_or_of_a_sample(scope, factor):
    """Ids far apart (factor 1000) are closed up; uncovered pixels stay outside."""
    batch = make_batch()
    labels = torch.where(batch.superpixels == 2, -1, batch.superpixels * factor)
    batch = dataclasses.replace(batch, superpixels=labels)
    regions = SuperpixelRegions.from_batch(batch, scope)
    assert regions.count <= LABELS * len(labels)
    found: dict = {}
    for pixel in (regions.pixel_region >= 0).nonzero().tolist():
        found.setdefault(int(regions.pixel_region[tuple(pixel)]), set()).add(tuple(pixel))
    expected = naive_region_ids(batch, scope)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, expected.values()))
    row, column = batch.pair_rowcol.T
    assert torch.equal(regions.pair_region, regions.pixel_region[batch.pair_image, row, column])


def test_sample_scope_lets_cameras_share_regions():
    batch = make_batch()
    few = SLidR(**networks(), region_scope="sample").train()
    many = SLidR(**networks()).train()
    few(batch, mode="loss")
    many(batch, mode="loss")
    assert few.observations["regions"] * CAMERAS >= many.observations["regions"]
    assert few.observations["regions"] < many.observations["regions"]
    assert STSLidR(**networks(), region_scope="sample")(batch, mode="loss")["loss_infonce"] > 0
    with pytest.raises(ValueError, match="scope: expected one of image, sample, got 'scene'"):
        SuperpixelRegions.from_batch(batch, "scene")


def test_close_gaps():
    ids, count = close_gaps(torch.tensor([[[7, -1, 3], [3, 7, 900]]]), 1000)
    assert count == 3
    assert ids.tolist() == [[[1, -1, 0], [0, 1, 2]]]
    assert close_gaps(torch.full((1, 2, 2), -1), 5)[1] == 0


def test_checkpoints_of_all_teachers_are_dropped_for_a_test():
    from mmengine.config import Config

    from lidistill.engine.test import drop_teacher_checkpoints

    teacher = {"model": {"type": "x"}, "checkpoint": "a.pth"}
    for entry in (teacher, {"one": teacher, "two": teacher}):
        cfg = Config({"model": {"teacher": entry}})
        drop_teacher_checkpoints(cfg)
        assert "a.pth" not in cfg.pretty_text
