# SPDX-License-Identifier: Apache-2.0
"""PointDistiller on unmodified mmdet3d detectors, against loops over edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lidistill.distill.audit import audit
from lidistill.distill.detectors.edge_conv import EdgeConv
from lidistill.distill.detectors.places import Places
from lidistill.distill.outputs import FeatureMap, SparseVoxels
from lidistill.methods.pointdistiller import GraphTap, PointDistiller
from lidistill.ops.graphs.local_graph import feature_graph
from tests.methods import small_detectors

POINTS = "neck.FP_modules.3"  # PointRCNN's last feature propagation
GRAPH = dict(tap="voxel_encoder", channels=(8, 16), width=6, queries=40, neighbours=5)


@pytest.fixture(scope="module")
def detectors() -> tuple[nn.Module, nn.Module]:
    """A narrow student and a teacher of other weights."""
    return small_detectors.pillars(8), small_detectors.pillars(16, seed=1)


@pytest.fixture(scope="module")
def batch() -> dict:
    return small_detectors.batch()


def make(detectors, graph=GRAPH, **kwargs) -> PointDistiller:
    student, teacher = detectors
    torch.manual_seed(2)
    return PointDistiller(student, dict(model=teacher), dict(pillars=graph), **kwargs).train()


def terms(method: PointDistiller, batch: dict):
    with method.student_taps.capture(method.student) as student:
        data = method.student.data_preprocessor(batch, True)
        method.student.extract_feat(data["inputs"])
    teacher = method.teachers["teacher"](batch)
    return student, teacher, method.distill_losses(student, {"teacher": teacher}, batch)


def naive_loss(method: PointDistiller, student: SparseVoxels, teacher: SparseVoxels) -> float:
    """Sections 3.1 to 3.3 with loops: join by coordinates, choose, sort, compare edge by edge."""
    rows = {tuple(c): f for c, f in zip(student.coords.tolist(), student.features, strict=True)}
    joined = [
        (tuple(c), rows[tuple(c)].double(), f.double(), int(n))
        for c, f, n in zip(teacher.coords.tolist(), teacher.features, teacher.counts, strict=True)
        if tuple(c) in rows
    ]
    joined.sort(key=lambda place: place[0])
    edges = {"student": [], "teacher": []}
    weights = []
    for sample in range(student.batch_size):
        own = [place for place in joined if place[0][0] == sample]
        queries = sorted(own, key=lambda place: -place[3])[: GRAPH["queries"]]
        points = torch.tensor([place[3] for place in queries]).double()
        points = (points - points.mean()) / points.std(unbiased=False)
        weights += (len(queries) * torch.softmax(points, 0)).tolist()
        for query in queries:
            near = sorted(own, key=lambda place: float((place[2] - query[2]).norm()))
            for side, column in (("student", 1), ("teacher", 2)):
                edges[side] += [
                    torch.cat([place[column], query[column]])
                    for place in near[: GRAPH["neighbours"]]
                ]
    out = []
    for side in ("student", "teacher"):
        layer = method.connectors[f"pillars_{side}"]
        linear = torch.stack(edges[side]) @ layer.linear.weight.double().T
        centred = linear - linear.mean(0)
        out.append(torch.relu(centred / (linear.var(0, unbiased=False) + 1e-5).sqrt()))
    square = (out[0] - out[1]).square().mean(1).view(len(weights), -1).mean(1)
    return 2 * float((torch.tensor(weights) * square).mean())


def test_loss_equals_naive_loops(detectors, batch):
    method = make(detectors)
    student, teacher, found = terms(method, batch)
    expected = naive_loss(method, student.pillars, teacher.pillars)
    assert found["pillars"].item() == pytest.approx(expected, rel=1e-4)
    assert method.observations["pillars_queries"] == 80
    assert 10 < method.observations["pillars_effective_queries"] <= 80


def test_students_own_losses_stay_and_the_teacher_gets_no_gradient(detectors, batch):
    method = make(detectors, weights=dict(pillars=3.0))
    losses = method.train_step(batch, _Step())
    assert {"loss_cls", "loss_bbox", "loss_dir", "loss_pillars", "raw_pillars"} <= set(losses)
    assert losses["loss_pillars"].item() == pytest.approx(3 * losses["raw_pillars"].item())
    parts = sum(losses[f"loss_{part}"] for part in ("cls", "bbox", "dir", "pillars"))
    assert losses["loss"].item() == pytest.approx(float(parts), rel=1e-5)
    report = audit(method, batch)
    assert set(report.gradient_norms["pillars"]) == {"student", "connectors.pillars_student"}
    assert all(norm > 0 for norm in report.gradient_norms["pillars"].values())


class _Step:
    """Stands for mmengine's optimizer wrapper."""

    def optim_context(self, _model):
        return torch.enable_grad()

    def update_params(self, loss):
        loss.backward()


def test_teacher_stops_after_the_last_tap(detectors, batch):
    method = make(detectors)
    method.teachers["teacher"].model.backbone.forward = None  # never reached
    try:
        method.teachers["teacher"](batch)
    finally:
        del method.teachers["teacher"].model.backbone.forward


def test_checkpoint_holds_student_and_graph_layers_only(detectors):
    method = make(detectors)
    assert {key.split(".")[0] for key in method.state_dict()} == {"student", "connectors"}
    frozen = method.connectors["pillars_teacher"]
    assert list(frozen.parameters()) == []
    assert "connectors.pillars_teacher.linear.weight" in method.state_dict()


def test_order_of_the_points_changes_nothing(detectors, batch):
    method = make(detectors).eval()  # the student's batch norm then sees no order either
    shuffled = dict(batch, inputs={"points": [p.flip(0) for p in batch["inputs"]["points"]]})
    with torch.no_grad():
        one, other = (terms(method, each)[2]["pillars"] for each in (batch, shuffled))
    # voxels keep the first 32 points: nearly all have fewer
    assert one.item() == pytest.approx(other.item(), rel=0.05)


def test_scene_with_fewer_voxels_than_queries(detectors, batch):
    method = make(detectors, dict(GRAPH, queries=6000, neighbours=3000))
    _, _, found = terms(method, batch)
    places = method.observations["pillars_places"]
    assert method.observations["pillars_queries"] == places < 12_000
    found["pillars"].backward()


def test_empty_scenes_are_zero_with_gradient(detectors):
    method = make(detectors)
    coords = torch.zeros(0, 4, dtype=torch.int32)
    sides = []
    for channels in (8, 16):
        rows = torch.zeros(0, channels, requires_grad=True)
        sides.append(SparseVoxels(rows, coords, (1, 40, 40), 2, torch.zeros(0)))
    outputs = [method.student_taps.outputs_type(pillars=side) for side in sides]
    loss = method.distill_losses(outputs[0], {"teacher": outputs[1]}, {})["pillars"]
    assert loss.item() == 0.0
    loss.backward()
    assert all(p.grad is not None for p in method.connectors.parameters())


@pytest.mark.parametrize(
    "setting",
    [
        dict(teacher_side="orthogonal"),
        dict(compat=True),
        dict(pool="max"),
        dict(pool="avg", residual=True, reweight=False),
        dict(graph=dict(GRAPH, in_space=True)),
    ],
    ids=str,
)
def test_variants_teach(detectors, batch, setting):
    method = make(detectors, **setting)
    _, _, found = terms(method, batch)
    found["pillars"].backward()
    assert found["pillars"].item() > 0
    assert method.connectors["pillars_student"].linear.weight.grad.abs().sum() > 0


def test_compat_is_one_preset(detectors):
    """Neither paper nor release came of ``compat`` alone."""
    release, paper = make(detectors, compat=True), make(detectors)
    assert (release.temperature, paper.temperature) == (0.01, 1.0)
    assert list(release.connectors["pillars_teacher"].parameters())
    assert not list(paper.connectors["pillars_teacher"].parameters())
    named = make(detectors, compat=True, temperature=0.5, teacher_side="frozen")
    assert named.temperature == 0.5
    assert not list(named.connectors["pillars_teacher"].parameters())


@pytest.mark.parametrize(
    ("compat", "form", "pooled"),
    [(True, "voxel", True), (True, "bev", False), (False, "voxel", False), (False, "bev", False)],
)
def test_scenes_are_pooled_for_voxels_of_the_release_alone(detectors, compat, form, pooled):
    method = make(detectors, dict(GRAPH, queries=3, neighbours=4), compat=compat)
    rows = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    sample = torch.arange(2).repeat_interleave(6)
    places = Places(rows, rows, sample, batch_size=2, form=form)
    importance = torch.arange(12.0)  # the most important stand all in the second scene
    queries, graph = method.local_graph(places, importance, method.graphs["pillars"])
    assert queries.tolist() == ([9, 10, 11] if pooled else [3, 4, 5, 9, 10, 11])
    reached = graph.times_chosen.nonzero().squeeze(1)
    assert bool((reached < 6).any()) == (True if not pooled else crosses(rows, [9, 10, 11], 4))


def crosses(rows, queries, neighbours) -> bool:
    """Whether a nearest place of the queries, which stand in the second scene, is in the first."""
    near = torch.cdist(rows[queries], rows).topk(neighbours, largest=False).indices
    assert (near < 6).any()
    return True


def test_trained_norms_can_shrink_the_loss_and_frozen_ones_cannot(detectors, batch):
    """Defect 7 of the release: both layers agree on nothing."""
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    graph = feature_graph(rows, torch.zeros(50).long(), torch.arange(20), 5)
    trained, frozen = EdgeConv(4, 6), EdgeConv(4, 6, training_of="frozen")
    spread = frozen(rows, graph).near.std()
    with torch.no_grad():
        trained.scale.fill_(1e-3)
    assert trained(rows, graph).near.std() < 0.01 * spread
    weight = EdgeConv(4, 6, training_of="orthogonal").linear.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(6), rtol=1e-4, atol=1e-5)


def test_bev_maps_and_points(detectors):
    method = make(detectors, GraphTap("backbone[0]", (3, 4), 6, 10, 4))
    own, target = torch.randn(2, 3, 6, 5, requires_grad=True), torch.randn(2, 4, 6, 5)
    outputs = method.student_taps.outputs_type
    for student, teacher in (
        (FeatureMap(own), FeatureMap(target)),
        (own.flatten(2), target.flatten(2)),
    ):
        sides = outputs(pillars=student), {"teacher": outputs(pillars=teacher)}
        loss = method.distill_losses(*sides, {})["pillars"]
        assert np.isfinite(loss.item())
        assert method.observations["pillars_queries"] == 20
    method.graphs = dict(pillars=GraphTap("backbone[0]", (3, 4), 6, 10, 4, in_space=True))
    with pytest.raises(ValueError, match="in_space needs voxels"):
        method.distill_losses(*sides, {})


@pytest.fixture(scope="module")
def of_points() -> PointDistiller:
    """PointRCNN's points, an eighth of the widths and a quarter; a maximum over neighbours."""
    teacher = small_detectors.settle(small_detectors.pointrcnn(0.25, seed=1), "pointrcnn")
    torch.manual_seed(2)
    graph = dict(tap=POINTS, channels=(16, 32), width=16, queries=30, neighbours=4)
    student = small_detectors.pointrcnn(0.125)
    return PointDistiller(student, dict(model=teacher), dict(points=graph), pool="max").train()


def test_points_equal_naive_loops(of_points):
    """The paper's form for points: importance by the channel maximum, one row a query."""
    batch = small_detectors.batch("pointrcnn")
    student, teacher, found = terms(of_points, batch)
    edges, weights = {"student": [], "teacher": []}, []
    for sample in range(2):
        rows = {
            "student": student.points.features[sample].T.double(),
            "teacher": teacher.points.features[sample].T.double(),
        }
        largest = [float(row.max()) for row in rows["teacher"]]
        queries = sorted(range(len(largest)), key=lambda row: -largest[row])[:30]
        spread = torch.tensor([largest[row] for row in queries]).double()
        spread = (spread - spread.mean()) / spread.std(unbiased=False)
        weights += (30 * torch.softmax(spread, 0)).tolist()
        for query in queries:
            gaps = (rows["teacher"] - rows["teacher"][query]).norm(dim=1).tolist()
            near = sorted(range(len(gaps)), key=lambda row: gaps[row])[:4]
            for side, values in rows.items():
                edges[side] += [torch.cat([values[row], values[query]]) for row in near]
    out = []
    for side in ("student", "teacher"):
        layer = of_points.connectors[f"points_{side}"]
        linear = torch.stack(edges[side]) @ layer.linear.weight.double().T
        normed = (linear - linear.mean(0)) / (linear.var(0, unbiased=False) + 1e-5).sqrt()
        out.append(torch.relu(normed).view(60, 4, -1).amax(1))
    expected = 2 * (torch.tensor(weights) * (out[0] - out[1]).square().mean(1)).mean()
    assert found["points"].item() == pytest.approx(float(expected), rel=1e-4)
    assert of_points.observations["points_places"] == sum(map(len, batch["inputs"]["points"]))


def test_two_steps_on_points(of_points):
    """The term reaches the student up to its tap, and no weight of the teacher."""
    batch = small_detectors.batch("pointrcnn")
    report = audit(of_points, batch)
    assert report.gradient_norms["points"]["student"] > 0
    found = of_points.forward_terms(batch).terms["points"]
    of_points.zero_grad()
    found.backward()
    reached = {
        n.split(".")[0] for n, p in of_points.student.named_parameters() if p.grad is not None
    }
    assert reached == {"backbone", "neck"}
    teacher = of_points.teachers["teacher"].model
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimizer = torch.optim.AdamW(of_points.parameters(), lr=1e-3)
    values = []
    for _ in range(3):
        optimizer.zero_grad()
        losses = of_points.train_step(batch, _Step())
        optimizer.step()
        values.append(losses["raw_points"].item())
    assert {"rpn_bbox_loss", "rpn_semantic_loss", "loss_bbox", "loss_points"} <= set(losses)
    assert values[-1] < values[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_errors_say_what_to_do(detectors, batch):
    with pytest.raises(ValueError, match=r"nearest names: .*voxel_encoder"):
        make(detectors, dict(GRAPH, tap="voxel_encoders"))
    with pytest.raises(ValueError, match=r"set the layer's in_channels to 8"):
        terms(make(detectors, dict(GRAPH, channels=(16, 16))), batch)
    with pytest.raises(ValueError, match="training_of must be one of"):
        make(detectors, teacher_side="learned")
    method = make(detectors, dict(GRAPH, tap="backbone[0]", teacher_tap="voxel_encoder"))
    with pytest.raises(ValueError, match=r"two maps, .* got FeatureMap .* SparseVoxels"):
        terms(method, batch)
