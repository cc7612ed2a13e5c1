# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD against loops over cells, the authors' numbers, and on the detectors of its configs."""

from __future__ import annotations

import copy
import math
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lidistill import compat
from lidistill.distill.audit import AuditError, audit
from lidistill.distill.calls import call_model
from lidistill.distill.outputs import FeatureMap
from lidistill.engine.configs.read import load_config
from lidistill.engine.configs.stages import load_stage
from lidistill.engine.synthetic import synthetic_batch
from lidistill.engine.test import teachers_of
from lidistill.methods.monotakd import WEIGHTS, MonoTAKD, _chain
from lidistill.models.bev_blocks.alignment import TwoBranches
from lidistill.registry import MODELS
from tests.conftest import ROOT, parity_files
from tests.methods.test_unidistill import CLASSES, Detector

CONFIGS = ROOT / "configs" / "monotakd"
CHANNELS, SHAPE = 4, (3, 5)
RANGE, VOXEL = (-9.6, -4.8, -5.0, 9.6, 14.4, 3.0), (0.15, 0.15, 0.2)
KITTI_RANGE, KITTI_VOXEL = (0.0, -5.12, -3.0, 10.24, 5.12, 1.0), (0.08, 0.08, 0.1)
ON_ANCHORS = ("cmkd_world_kitti", "monotakd_world_kitti", "chain_world_kitti", "add_world_kitti")


class Camera(Detector):
    """Names of modules only: outputs are made by the tests."""

    def __init__(self, classes=CLASSES) -> None:
        super().__init__(classes)
        self.camera_branches = TwoBranches(CHANNELS)


def make(assistant=True, **arguments) -> MonoTAKD:
    teachers = dict(teacher=dict(model=Detector()))
    if assistant:
        teachers["assistant"] = dict(model=Detector())
    return MonoTAKD(Camera(), teachers, **arguments)


def outputs(*names, seed, samples=2, **given):
    """Drawn maps of a head, and of the names asked for; leaves."""
    generator = torch.Generator().manual_seed(seed)
    widths = dict.fromkeys(names, CHANNELS)
    for k, count in enumerate(CLASSES):
        widths |= {f"task{k}_reg": 2, f"task{k}_height": 1, f"task{k}_heatmap": count}
    maps = {n: torch.randn(samples, w, *SHAPE, generator=generator) for n, w in widths.items()}
    maps |= given
    return SimpleNamespace(**{n: FeatureMap(m.clone().requires_grad_()) for n, m in maps.items()})


def sides(**given):
    """Student, and teachers by name."""
    student = outputs("vis", "spa", seed=0, **given)
    teacher = outputs("teacher_bev", seed=1)
    return student, {"teacher": teacher, "assistant": outputs("assistant_bev", seed=2)}


def changed(side, change):
    """The same outputs with other maps."""
    return SimpleNamespace(**{n: FeatureMap(change(m.features)) for n, m in vars(side).items()})


def twice(maps):
    return maps.repeat(2, 1, 1, 1)


def array(output):
    return output.features.detach().double().numpy()


def naive_response(student, teacher) -> float:
    """L_logit, cell by cell: soft focal of classes, smooth L1 of boxes where the teacher is."""
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    total, samples = 0.0, 2
    for k, count in enumerate(CLASSES):
        heat, target = (array(getattr(s, f"task{k}_heatmap")) for s in (student, teacher))
        boxes, wanted = (
            np.concatenate([array(getattr(s, f"task{k}_{b}")) for b in ("reg", "height")], 1)
            for s in (student, teacher)
        )
        for b in range(samples):
            for c in range(count):
                likely = max(1, sum(sigmoid(x) > 0.1 for x in target[b, c].flat))
                for s, t in zip(heat[b, c].flat, target[b, c].flat, strict=True):
                    p, q = sigmoid(s), sigmoid(t)
                    entropy = -q * math.log(p) - (1 - q) * math.log(1 - p)
                    total += entropy * (p - q) ** 2 / likely / samples
            summed = {ij: sum(sigmoid(target[b, c][ij]) for c in range(count))
                      for ij in np.ndindex(*SHAPE)}  # fmt: skip
            likely = max(1, sum(s > 0.1 for s in summed.values()))
            for ij, weight in summed.items():
                for n in range(3):
                    gap = abs(boxes[b, n][ij] - wanted[b, n][ij])
                    smooth = 4.5 * gap**2 if gap < 1 / 9 else gap - 1 / 18
                    total += (weight > 0.1) * weight / likely * smooth / samples
    return total


def test_values_beside_loops_and_gradients():
    student, teachers = sides()
    method = make()
    found = method.distill_losses(student, teachers, None)
    intra, cross, cells = 0.0, 0.0, 2 * CHANNELS * math.prod(SHAPE)
    vis, spa = array(student.vis), array(student.spa)
    f_t = array(teachers["teacher"].teacher_bev)
    f_a = array(teachers["assistant"].assistant_bev)
    for at in np.ndindex(*vis.shape):
        intra += (vis[at] - f_a[at]) ** 2 / cells
        cross += (spa[at] - (f_t[at] - f_a[at])) ** 2 / cells
    expected = dict(intra=intra, cross=cross, response=naive_response(student, teachers["teacher"]))
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-4), name
    reached = dict(intra={"vis"}, cross={"spa"}, response=set(vars(student)) - {"vis", "spa"})
    taught = [m for teacher in teachers.values() for m in vars(teacher).values()]
    for name, maps in reached.items():
        for output in vars(student).values():
            output.features.grad = None
        found[name].backward(retain_graph=True)
        assert {n for n, m in vars(student).items() if m.features.grad is not None} == maps
        assert all(m.features.grad.abs().sum() > 0 for n, m in vars(student).items() if n in maps)
        assert all(m.features.grad is None for m in taught)


def test_without_an_assistant_it_is_cmkd():
    method = make(assistant=False, vis="bev_low")
    assert set(method.student_taps.taps) & {"vis", "spa"} == {"vis"}
    student, teachers = sides()
    found = method.distill_losses(student, {"teacher": teachers["teacher"]}, None)
    gap = array(student.vis) - array(teachers["teacher"].teacher_bev)
    assert set(found) == {"cross", "response"}
    assert found["cross"].item() == pytest.approx((gap**2).mean(), rel=1e-5)
    assert {n: s(0.5) for n, s in method.schedules.items()} == WEIGHTS["cmkd"]


@pytest.mark.parametrize("path", parity_files("monotakd", "feature_losses*.npz"))
def test_whole_losses_of_the_authors(path):
    data = {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(path).items()}
    for compat_, names in (
        ("released", ("released_imd", "released_cmrd")),
        ("paper", ("paper_imd", "paper_cmrd_signed")),
    ):
        student = outputs(seed=0, vis=data["bev_student_vis"], spa=data["bev_student_spa"])
        teacher = outputs(seed=1, teacher_bev=data["bev_teacher"])
        assistant = outputs(seed=2, assistant_bev=data["bev_ta"])
        method = make(compat=compat_)
        found = method.distill_losses(student, {"teacher": teacher, "assistant": assistant}, None)
        for term, name in zip(("intra", "cross"), names, strict=True):
            assert found[term].item() == pytest.approx(data[name].item(), rel=1e-4)
        weights = {name: schedule(0.0) for name, schedule in method.schedules.items()}
        total = weights["intra"] * found["intra"] + weights["cross"] * found["cross"]
        total.backward()
        spa, vis = student.spa.features.grad, student.vis.features.grad
        if compat_ == "released":
            assert total.item() == pytest.approx(data["released_loss"].item(), rel=1e-4)
            torch.testing.assert_close(spa, data["released_grad_student_spa"].float())
            assert vis is None
        else:
            torch.testing.assert_close(spa, data["paper_grad_cmrd_signed"].float())
            torch.testing.assert_close(vis, data["paper_grad_imd"].float())


def test_a_batch_seen_twice_teaches_the_same():
    """But for the release's class term, a sum over the batch."""
    student, teachers = sides()
    doubled = {name: changed(side, twice) for name, side in teachers.items()}
    for compat_ in ("paper", "released"):
        method = make(compat=compat_)
        once = method.distill_losses(student, teachers, None)
        again = method.distill_losses(changed(student, twice), doubled, None)
        for name in ("intra", "cross", "response"):
            same = again[name].item() == pytest.approx(once[name].item(), rel=1e-4)
            assert same == (compat_ == "paper" or name != "response"), (compat_, name)


def test_a_chain_goes_by_the_numbers_of_its_assistants():
    """A config on another adds the first one last: the residuals were of the wrong steps."""
    named = ("assistant_10", "assistant_2", "teacher", "assistant_1")
    chain = _chain({name: {} for name in named})
    assert chain == ["teacher", *(f"assistant_{k}" for k in (1, 2, 10))]


def test_a_chain_of_two_assistants():
    """The student's first map is the last assistant's; each step of the chain has a residual."""
    teachers = {name: dict(model=Detector()) for name in ("teacher", "assistant_1", "assistant_2")}
    camera = Camera()
    camera.camera_branches = TwoBranches(CHANNELS, residuals=2)
    method = MonoTAKD(camera, teachers)
    assert method.student_taps.taps["spa_2"].path == "camera_branches.later.0"
    student = outputs("vis", "spa", "spa_2", seed=0)
    made = {name: outputs(f"{name}_bev", seed=k + 1) for k, name in enumerate(teachers)}
    found = method.distill_losses(student, made, None)
    f_t, f_1, f_2 = (array(getattr(made[name], f"{name}_bev")) for name in teachers)
    vis, spa, spa_2 = (array(getattr(student, name)) for name in ("vis", "spa", "spa_2"))
    cells, intra, cross = vis.size, 0.0, 0.0
    for at in np.ndindex(*vis.shape):
        intra += (vis[at] - f_2[at]) ** 2 / cells
        cross += (spa[at] - (f_t[at] - f_1[at])) ** 2 / cells
        cross += (spa_2[at] - (f_1[at] - f_2[at])) ** 2 / cells
    assert found["intra"].item() == pytest.approx(intra, rel=1e-4)
    assert found["cross"].item() == pytest.approx(cross, rel=1e-4)
    # what all branches are asked for, added up, is the teacher's map
    perfect = outputs("vis", "spa", "spa_2", seed=0, vis=torch.from_numpy(f_2).float(),
                      spa=torch.from_numpy(f_t - f_1).float(),
                      spa_2=torch.from_numpy(f_1 - f_2).float())  # fmt: skip
    found = method.distill_losses(perfect, made, None)
    assert found["intra"].item() + found["cross"].item() == pytest.approx(0, abs=1e-8)
    total = sum(getattr(perfect, name).features for name in ("vis", "spa", "spa_2"))
    np.testing.assert_allclose(total.detach().numpy(), f_t, atol=1e-5)
    branches = camera.camera_branches.eval()
    maps = torch.randn(1, CHANNELS, 6, 6)
    both = branches.spa(maps) + branches.later[0](maps)
    torch.testing.assert_close(branches(maps), branches.ffm(maps + both))


def test_an_empty_batch_is_zero_with_gradient():
    student, teachers = sides()
    empty = {name: changed(side, lambda maps: maps[:0]) for name, side in teachers.items()}
    found = make().distill_losses(changed(student, lambda maps: maps[:0]), empty, None)
    assert sum(found.values()).item() == 0
    sum(found.values()).backward()


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="compat: expected one of"):
        make(compat="aligned")
    with pytest.raises(ValueError, match=r"'teacher' alone \(CMKD\), got \['assistant'\]"):
        MonoTAKD(Camera(), dict(assistant=dict(model=Detector())))
    with pytest.raises(ValueError, match=r"got \['helper', 'teacher'\]"):
        MonoTAKD(Camera(), dict(teacher=dict(model=Detector()), helper=dict(model=Detector())))
    with pytest.raises(ValueError, match=r"one map for each of 1 assistants, got 2"):
        make(spa=["camera_branches.spa", "camera_branches.vis"])
    with pytest.raises(ValueError, match=r"teacher_taps: expected .*'assistant'\], got \['bev'\]"):
        make(teacher_taps={"bev": "bev_low"})
    with pytest.raises(ValueError, match="numbers mean different things"):
        MonoTAKD(Camera(), dict(teacher=dict(model=Detector((2, 1)))), vis="bev_low")
    with pytest.raises(ValueError, match="names no module"):
        MonoTAKD(Detector(), dict(teacher=dict(model=Detector())))
    student, teachers = sides(vis=torch.randn(2, CHANNELS + 1, *SHAPE))
    method = make()
    with pytest.raises(ValueError, match="expected maps of one shape"):
        method.distill_losses(student, teachers, None)
    moved, there = Detector(), Camera()
    moved.point_range, there.point_range = (0, -4, -3, 8, 4, 1), (0, -4, -3, 8, 8, 1)
    with pytest.raises(ValueError, match=r"the teacher .* one point_range"):
        MonoTAKD(there, dict(teacher=dict(model=moved)), vis="bev_low")


@cache
def config(name):
    compat.apply()
    return load_config(CONFIGS / f"{name}.py")


def shrunk(name, **options):
    """The config's method on a quarter of its range, with random teachers."""
    torch.manual_seed(0)
    model = copy.deepcopy(config(name).model)
    covered = (RANGE, VOXEL) if "kitti" not in name else (KITTI_RANGE, KITTI_VOXEL)
    for part in (model.student, *(t.model for t in model.teachers.values())):
        part.update(point_range=covered[0], voxel_size=covered[1])
    for teacher in model.teachers.values():
        teacher.checkpoint = "random"
    method = MODELS.build({**model, **options}).train()
    method.student.init_weights()
    return method, synthetic_batch(config(name), method, 2000)


@pytest.mark.parametrize("name", ["bevdepth_world", "cmkd_world", *ON_ANCHORS])
def test_the_detectors_of_the_configs(name):
    """Each term reaches the student; labels have no part in it."""
    method, batch = shrunk(name)
    report = audit(method, batch)
    alone = {"intra"} if len(method.teachers) == 1 else set()
    assert set(report.gradient_norms) == {"intra", "cross", "response"} - alone
    assert all(norms["student"] > 0 for norms in report.gradient_norms.values())
    assert not any("teacher" in key or "assistant" in key for key in method.state_dict())
    for teacher in method.teachers.values():
        assert not teacher.model.training
        assert not any(p.requires_grad for p in teacher.model.parameters())
    for sample in batch["data_samples"]:
        sample.gt_instances_3d = sample.gt_instances_3d[:0]
    without = audit(method, batch)
    for term, value in report.values.items():
        assert without.values[term] == pytest.approx(value, rel=1e-4)


def test_a_teacher_on_images_of_depth():
    """MonoDistill's: the teacher reads other images than the student, each term teaches."""
    method, batch = shrunk("monodistill_world_kitti")
    report = audit(method, batch)
    assert set(report.gradient_norms) == {"objects", "affinity"}
    assert all(norms["student"] > 0 for norms in report.gradient_norms.values())
    black = [torch.zeros_like(image) for image in batch["inputs"]["depth_image"]]
    seen = audit(method, {**batch, "inputs": {**batch["inputs"], "depth_image": black}})
    for name, same in (("student.objects", True), ("teacher.objects", False)):
        assert (seen.features[name] == report.features[name]) == same


def test_as_released_the_audit_names_the_term_that_teaches_nothing():
    method, batch = shrunk("bevdepth_world", compat="released")
    with pytest.raises(AuditError, match="intra"):
        audit(method, batch)


def test_inference_needs_neither_depth_nor_points():
    method, batch = shrunk("bevdepth_world")
    student = method.student.eval()
    alone = {**batch, "inputs": {"img": batch["inputs"]["img"]}}
    with torch.no_grad():
        given, found = (call_model(student, b, None, "tensor", False) for b in (batch, alone))
    assert torch.equal(given[0][0]["heatmap"], found[0][0]["heatmap"])


@pytest.mark.parametrize("name", ["bevdepth_world", "monotakd_world_kitti", "monotakd_kitti"])
def test_the_chain_fits_together(name):
    """Teacher and assistant are the networks that the stages before train, tensor by tensor."""
    compat.apply()
    path, made = CONFIGS / f"{name}_chain.py", {}
    for stage in load_config(path).stages:
        _, cfg = load_stage(path, stage)
        described = teachers_of(cfg.model)
        sources = [each["checkpoint"].removeprefix("stage://") for each in described]
        for each, source in zip(described, sources, strict=True):
            model: nn.Module = MODELS.build(each["model"])
            assert {n: t.shape for n, t in model.state_dict().items()} == made[source]
        student = MODELS.build(cfg.model.get("student", cfg.model))
        made[stage["name"]] = {n: t.shape for n, t in student.state_dict().items()}
    assert list(made) == ["teacher", "assistant", "student"]
    assert sources == ["teacher", "assistant"]
    assert set(made["assistant"]) < set(made["student"])  # the student has two branches more
