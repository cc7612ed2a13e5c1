# SPDX-License-Identifier: Apache-2.0
"""UniDistill against loops over boxes and cells, on maps that are neither square nor symmetric."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lidistill.distill.audit import audit
from lidistill.distill.connectors import Conv1x1
from lidistill.distill.cost import counted
from lidistill.distill.outputs import FeatureMap
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.methods.unidistill import PATHS, UniDistill
from lidistill.models.detectors.mmdet3d import mmdet3d_detector
from tests.methods import small_detectors
from tests.on_gpu import Backward

GRID = BEVGrid((-3.0, 9.0), (-2.4, 4.8), (0.6, 0.6))  # 12 rows, 20 columns
CLASSES = (1, 2)
TERMS = {"feature", "relation", "response"}


class Head(nn.Module):
    """What UniDistill asks of a CenterPoint head: branches by task, and what they mean."""

    def __init__(self, classes=CLASSES) -> None:
        super().__init__()
        self.task_heads = nn.ModuleList()
        for count in classes:
            task = nn.Module()
            task.heads = dict(reg=2, height=1, heatmap=count)
            for branch in task.heads:
                setattr(task, branch, nn.Identity())
            self.task_heads.append(task)
        self.class_names = [[f"class{i}" for i in range(count)] for count in classes]


class Detector(nn.Module):
    """Names of modules only: outputs are made by the tests."""

    def __init__(self, classes=CLASSES) -> None:
        super().__init__()
        self.bev_low, self.bev_high = nn.Identity(), nn.Identity()
        self.pts_bbox_head = Head(classes)


def make(**arguments) -> UniDistill:
    return UniDistill(Detector(), dict(model=Detector()), **arguments)


def outputs(grid=GRID, seed=0, low=5, high=7, samples=2, memory=torch.contiguous_format):
    """What the taps of one side give; leaves."""
    generator = torch.Generator().manual_seed(seed)
    widths = dict(low=low, high=high)
    for k, count in enumerate(CLASSES):
        widths |= {f"task{k}_reg": 2, f"task{k}_height": 1, f"task{k}_heatmap": count}
    maps = {}
    for name, width in widths.items():
        drawn = torch.randn(samples, width, *grid.shape, generator=generator)
        drawn = drawn.contiguous(memory_format=memory)
        maps[name] = FeatureMap(drawn.requires_grad_(seed == 0), grid)
    return SimpleNamespace(**maps)


def batch_of(*boxes) -> dict:
    samples = []
    for rows in boxes:
        tensor = torch.tensor(rows, dtype=torch.float32).reshape(-1, 9)
        found = SimpleNamespace(tensor=tensor)
        samples.append(SimpleNamespace(gt_instances_3d=SimpleNamespace(bboxes_3d=found)))
    return {"inputs": {}, "data_samples": samples}


BOXES = (
    [
        (1.0, 0.5, -1, 4.5, 1.9, 1.6, 0.7, 0, 0),
        (6.5, 3.1, -1, 0.7, 0.6, 1.7, -2.0, 0, 0),
        (-2.7, -2.2, -1, 9.0, 2.8, 3.0, 1.5, 0, 0),  # over the edge
    ],
    [(3.1, 1.3, -1, 2.1, 0.8, 1.4, 3.0, 0, 0)],
)


def bilinear(feature_map, grid, x, y):
    """(C,) by loops over the four neighbours, zero outside."""
    v, u = (y - grid.y_range[0]) / grid.cell[1] - 0.5, (x - grid.x_range[0]) / grid.cell[0] - 0.5
    total = np.zeros(len(feature_map))
    for row in (math.floor(v), math.floor(v) + 1):
        for column in (math.floor(u), math.floor(u) + 1):
            if 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]:
                share = (1 - abs(v - row)) * (1 - abs(u - column))
                total += share * feature_map[:, row, column]
    return total


def nine(box):
    x, y, _, length, width, _, yaw = box[:7]
    corner = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
    placed = []
    for i, j in [*corner, (0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)]:
        a, b = i * length / 2, j * width / 2
        placed.append(
            (
                x + math.cos(yaw) * a - math.sin(yaw) * b,
                y + math.sin(yaw) * a + math.cos(yaw) * b,
            )
        )
    return placed


def naive_points(student, teacher, boxes, grids):
    """Feature and relation loss, box by box, in double precision."""
    low, high, count = 0.0, 0.0, 0
    as_array = lambda output: output.features.detach().double().numpy()  # noqa: E731
    for sample, rows in enumerate(boxes):
        for box in rows:
            count += 1
            sides = {}
            for name, output in (("student", student), ("teacher", teacher)):
                grid = grids[name == "teacher"]
                for level in ("low", "high"):
                    feature_map = as_array(getattr(output, level))[sample]
                    rows_ = [bilinear(feature_map, grid, *p) for p in nine(box)]
                    sides[name, level] = np.stack(rows_)
            low += np.abs(sides["student", "low"] - sides["teacher", "low"]).mean()
            grams = []
            for name in ("student", "teacher"):
                length = np.linalg.norm(sides[name, "high"], axis=1, keepdims=True)
                unit = sides[name, "high"] / (length + 1e-4)
                grams.append(unit @ unit.T)
            high += np.abs(grams[0] - grams[1]).mean()
    return low / (count + 1e-4), high / (count + 1e-4)


def naive_mask(boxes, grid, overlap=0.7):
    mask = np.zeros((len(boxes), *grid.shape))
    for sample, rows in enumerate(boxes):
        for box in rows:
            a, b = box[3] / grid.cell[0], box[4] / grid.cell[1]
            radius = min(
                ((a + b) + math.sqrt((a + b) ** 2 - 4 * a * b * (1 - overlap) / (1 + overlap))) / 2,
                (2 * (a + b) + math.sqrt(4 * (a + b) ** 2 - 16 * (1 - overlap) * a * b)) / 2,
                (
                    -2 * overlap * (a + b)
                    + math.sqrt(
                        4 * overlap**2 * (a + b) ** 2 + 16 * overlap * (1 - overlap) * a * b
                    )
                )
                / 2,
            )
            r = max(0, int(radius))
            centre_row = math.floor((box[1] - grid.y_range[0]) / grid.cell[1])
            centre_column = math.floor((box[0] - grid.x_range[0]) / grid.cell[0])
            for i in range(-r, r + 1):
                for j in range(-r, r + 1):
                    row, column = centre_row + i, centre_column + j
                    if 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]:
                        value = math.exp(-(i * i + j * j) / (2 * ((2 * r + 1) / 6) ** 2))
                        mask[sample, row, column] = max(mask[sample, row, column], value)
    return mask


def naive_response(student, teacher, boxes, temperatures=(1.0, 2.0)):
    mask, total = naive_mask(boxes, GRID), 0.0
    for sample, row, column in zip(*mask.nonzero(), strict=True):
        heat, gap = [], []
        for output, temperature in zip((student, teacher), temperatures, strict=True):
            logits = [
                float(getattr(output, f"task{k}_heatmap").features[sample, c, row, column].detach())
                for k, count in enumerate(CLASSES)
                for c in range(count)
            ]
            heat.append(max(1 / (1 + math.exp(-x / temperature)) for x in logits))
        for k in range(len(CLASSES)):
            for branch in ("reg", "height"):
                own, target = (
                    getattr(o, f"task{k}_{branch}").features[sample, :, row, column]
                    for o in (student, teacher)
                )
                gap += (own - target).abs().tolist()
        total += mask[sample, row, column] * (abs(heat[0] - heat[1]) + sum(gap) / len(gap))
    return total / (mask.sum() + 1e-4)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_losses_equal_loops(memory):
    student, teacher = outputs(memory=memory), outputs(seed=1, memory=memory)
    found = make().distill_losses(student, {"teacher": teacher}, batch_of(*BOXES))
    feature, relation = naive_points(student, teacher, BOXES, (GRID, GRID))
    expected = naive_response(student, teacher, BOXES)
    assert found["feature"].item() == pytest.approx(feature, rel=1e-5)
    assert found["relation"].item() == pytest.approx(relation, rel=1e-5)
    assert found["response"].item() == pytest.approx(expected, rel=1e-5)
    sum(found.values()).backward()
    for name in vars(student):
        assert getattr(student, name).features.grad.abs().sum() > 0, name
        assert getattr(teacher, name).features.grad is None


def test_both_temperatures_count():
    student, teacher = outputs(), outputs(seed=1)
    method = make(temperatures=(3.0, 0.5))
    found = method.distill_losses(student, {"teacher": teacher}, batch_of(*BOXES))
    expected = naive_response(student, teacher, BOXES, (3.0, 0.5))
    assert found["response"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("compat", ["aligned", "released"])
@pytest.mark.parametrize("samples", [1, 2])
def test_no_boxes_is_zero_with_gradient(compat, samples):
    grid = BEVGrid((-6.0, 6.0), (-6.0, 6.0), (0.6, 0.6))
    student, teacher = (outputs(grid, seed, samples=samples) for seed in (0, 1))
    method = make(compat=compat, adapters=dict(low=Conv1x1(5, 5)))
    losses = method.distill_losses(student, {"teacher": teacher}, batch_of(*[[]] * samples))
    assert [value.item() for value in losses.values()] == [0.0, 0.0, 0.0]
    sum(losses.values()).backward()
    assert all(float(m.features.grad.abs().sum()) == 0 for m in vars(student).values())
    assert method.connectors["low"].weight.grad is not None


def test_an_empty_sample_teaches_nothing_but_in_the_release():
    grid = BEVGrid((-6.0, 6.0), (-6.0, 6.0), (0.6, 0.6))
    student, teacher = (outputs(grid, seed) for seed in (0, 1))
    losses = {}
    for compat in ("aligned", "released"):
        found = make(compat=compat).distill_losses(
            student, {"teacher": teacher}, batch_of(BOXES[1], [])
        )
        losses[compat] = found
        for name in ("low", "high", "task0_reg"):
            feature_map = getattr(student, name).features
            (gradient,) = torch.autograd.grad(sum(found.values()), feature_map, retain_graph=True)
            assert bool(gradient[1].any()) == (compat == "released"), name
    assert losses["aligned"]["feature"] != losses["released"]["feature"]


def test_the_release_looks_at_the_mirror_image_of_a_box():
    grid = BEVGrid((-6.0, 6.0), (-6.0, 6.0), (0.6, 0.6))
    box = [(4.0, -2.0, -1, 1.0, 1.0, 1.6, 0.0, 0, 0)]
    centres = {}
    for compat in ("aligned", "released"):
        student, teacher = (outputs(grid, seed, samples=1) for seed in (0, 1))
        found = make(compat=compat).distill_losses(student, {"teacher": teacher}, batch_of(box))
        found["feature"].backward()
        felt = student.low.features.grad.abs().sum((0, 1)).nonzero().float().mean(0)
        centres[compat] = grid.metres_from_cells(felt + 0.5).tolist()
    assert centres["aligned"] == pytest.approx([4.0, -2.0], abs=0.3)
    assert centres["released"] == pytest.approx([-2.0, 4.0], abs=0.3)
    with pytest.raises(ValueError, match="exchanges rows and columns"):
        make(compat="released").distill_losses(
            outputs(), {"teacher": outputs(seed=1)}, batch_of(*BOXES)
        )


def test_a_teacher_of_finer_cells_and_another_range():
    """Points are read in metres; boxes that one of the two does not see whole do not count."""
    other = BEVGrid((-2.4, 9.6), (-3.0, 4.8), (0.3, 0.3))
    student, teacher = outputs(), outputs(other, seed=1)
    for k in range(len(CLASSES)):  # heads on equal cells
        for branch in ("reg", "height", "heatmap"):
            name = f"task{k}_{branch}"
            setattr(teacher, name, getattr(outputs(seed=1), name))
    found = make().distill_losses(student, {"teacher": teacher}, batch_of(*BOXES))
    whole = (BOXES[0][:2], BOXES[1])
    feature, relation = naive_points(student, teacher, whole, (GRID, other))
    assert found["feature"].item() == pytest.approx(feature, rel=1e-3)  # 3 boxes + eps
    assert found["relation"].item() == pytest.approx(relation, rel=1e-3)


def test_response_of_a_teacher_whose_range_is_shifted():
    wide = BEVGrid((-4.2, 7.8), (-3.0, 6.0), (0.6, 0.6))
    student, teacher = outputs(), outputs(wide, seed=1)
    found = make().distill_losses(student, {"teacher": teacher}, batch_of(*BOXES))
    cut = SimpleNamespace()  # the teacher's cells under the student's map, nothing beyond 7.8 m
    for name, output in vars(teacher).items():
        inside = output.features[:, :, 1:13, 2:]
        padding = inside.new_zeros(*inside.shape[:3], 2)
        setattr(cut, name, FeatureMap(torch.cat([inside, padding], 3), GRID))
    expected = naive_response(student, cut, BOXES)
    assert found["response"].item() == pytest.approx(expected, rel=1e-5)


def test_response_of_other_cells_is_refused():
    other = BEVGrid((-3.0, 9.0), (-2.4, 4.8), (0.3, 0.3))
    with pytest.raises(ValueError, match=r"do not lie one on one.*same voxel size"):
        make().distill_losses(outputs(), {"teacher": outputs(other, seed=1)}, batch_of(*BOXES))


def test_unequal_widths_ask_for_an_adapter():
    student, teacher = outputs(low=4), outputs(seed=1)
    with pytest.raises(ValueError, match=r"map 'low': student width 4 .* 5"):
        make().distill_losses(student, {"teacher": teacher}, batch_of(*BOXES))
    method = make(adapters=dict(low=Conv1x1(4, 5)))
    method.distill_losses(student, {"teacher": teacher}, batch_of(*BOXES))["feature"].backward()
    assert method.connectors["low"].weight.grad.abs().sum() > 0


def test_a_batch_without_labels_and_unknown_compat_say_so():
    with pytest.raises(ValueError, match="needs ground-truth boxes"):
        make().distill_losses(outputs(), {"teacher": outputs(seed=1)}, {"inputs": {}})
    with pytest.raises(ValueError, match="compat: expected one of"):
        make(compat="paper")
    with pytest.raises(ValueError, match=r"adapters: expected 'low' and 'high', got \['bev_low'\]"):
        make(adapters=dict(bev_low=Conv1x1(4, 5)))
    with pytest.raises(ValueError, match=r"teacher_taps: expected .* got \['hihg'\]"):
        make(teacher_taps=dict(hihg="bev_high"))
    with pytest.raises(ValueError, match="numbers mean different things"):
        UniDistill(Detector(), dict(model=Detector((2, 1))))
    with pytest.raises(ValueError, match="CenterPoint's head"):
        UniDistill(nn.Linear(1, 1), dict(model=Detector()))


def test_turning_the_world_by_a_quarter_changes_nothing():
    """Maps, boxes and all: what is learnt does not hang on where x points."""
    student, teacher = outputs(), outputs(seed=1)
    before = make().distill_losses(student, {"teacher": teacher}, batch_of(*BOXES))
    turned = BEVGrid((-4.8, 2.4), (-3.0, 9.0), (0.6, 0.6))  # x' = -y, y' = x

    def turn(output):
        maps = {n: torch.rot90(m.features, -1, (2, 3)) for n, m in vars(output).items()}
        return SimpleNamespace(**{n: FeatureMap(m, turned) for n, m in maps.items()})

    boxes = [[(-b[1], b[0], *b[2:6], b[6] + math.pi / 2, 0, 0) for b in rows] for rows in BOXES]
    after = make().distill_losses(turn(student), {"teacher": turn(teacher)}, batch_of(*boxes))
    for name in TERMS:
        assert after[name].item() == pytest.approx(before[name].item(), rel=1e-4)


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a GPU: values asked for, sizes that hang on values, copies."""

    WAIT = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__.lstrip("_")
        assert not any(name == wait.lstrip("_") for wait in self.WAIT), name
        if name == "index" and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        ):
            raise AssertionError("indexed by a mask")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_nothing_in_the_loss_path_waits_for_a_gpu(memory, monkeypatch):
    student, teacher = outputs(memory=memory), outputs(seed=1, memory=memory)
    method, batch = make(), batch_of(*BOXES)
    expected = method.distill_losses(student, {"teacher": teacher}, batch)
    monkeypatch.setattr("lidistill.geometry.bev_cells.WAITS_FOR_NOTHING", ())
    with NoWaiting():
        found = method.distill_losses(student, {"teacher": teacher}, batch)
        sum(found.values()).backward()
    for name in TERMS:
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-5)


def test_the_guard_sees_waits():
    with NoWaiting(), pytest.raises(AssertionError):
        torch.ones(2).sum().item()
    with NoWaiting(), pytest.raises(AssertionError):
        torch.ones(3)[torch.tensor([True, False, True])]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_no_synchronisation_on_a_gpu(memory):
    def on_gpu(output):
        maps = {n: m.features.detach().cuda() for n, m in vars(output).items()}
        return SimpleNamespace(**{n: FeatureMap(m.requires_grad_(), GRID) for n, m in maps.items()})

    student, teacher = on_gpu(outputs(memory=memory)), on_gpu(outputs(seed=1, memory=memory))
    batch = batch_of(*BOXES)
    for sample in batch["data_samples"]:
        held = sample.gt_instances_3d.bboxes_3d
        held.tensor = held.tensor.cuda()
    method = make()
    expected = make().distill_losses(outputs(), {"teacher": outputs(seed=1)}, batch_of(*BOXES))
    for _ in range(2):  # constants are copied the first time
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.synchronize()
        found = method.distill_losses(student, {"teacher": teacher}, batch)
        sum(found.values()).backward()
        torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode(mode)
    for name in TERMS:
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-4)


def pillars(width: int, seed: int) -> nn.Module:
    """mmdet3d's CenterPoint on pillars, two tasks; the BEV network has ``width`` channels."""
    torch.manual_seed(seed)
    tasks = [
        dict(num_class=1, class_names=["car"]),
        dict(num_class=2, class_names=["truck", "construction_vehicle"]),
    ]
    return mmdet3d_detector(
        "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
        small_detectors.RANGE,
        (0.8, 0.8, 4.0),
        dict(
            data_preprocessor=dict(voxel_layer=dict(max_voxels=(1000, 1000))),
            pts_voxel_encoder=dict(feat_channels=[8]),
            pts_middle_encoder=dict(in_channels=8),
            pts_backbone=dict(in_channels=8, out_channels=[width] * 3, layer_nums=[1, 1, 1]),
            pts_neck=dict(in_channels=[width] * 3, out_channels=[width] * 3),
            pts_bbox_head=dict(in_channels=3 * width, share_conv_channel=8, tasks=tasks),
        ),
    )


def test_real_detectors():
    """On unmodified mmdet3d CenterPoints of unequal width behind the BEV network."""
    trained = UniDistill(
        pillars(8, 0),
        dict(model=pillars(16, 1)),
        low="pts_middle_encoder",
        high="pts_neck[0]",
        adapters=dict(high=Conv1x1(24, 48)),
        weights=PATHS["lidar_to_camera"],
    ).train()
    batch = small_detectors.batch("centerpoint")
    losses = trained.train_step(batch, Backward())
    assert {f"raw_{name}" for name in TERMS} <= set(losses)
    assert losses["loss_feature"].item() == pytest.approx(100 * losses["raw_feature"].item())
    assert trained.observations["boxes"] > 0
    report = audit(trained, batch)
    for term in TERMS:
        assert report.gradient_norms[term]["student"] > 0
    assert report.gradient_norms["relation"]["connectors.high"] > 0
    assert not any("teacher" in key for key in trained.state_dict())
    assert sum(p.requires_grad for p in trained.teachers["teacher"].model.parameters()) == 0


def test_inference_is_the_students():
    """As many multiply-adds, the same boxes: no teacher, no adapter."""
    trained = UniDistill(
        pillars(8, 0),
        dict(model=pillars(16, 1)),
        low="pts_middle_encoder",
        high="pts_neck[0]",
        adapters=dict(high=Conv1x1(24, 48)),
        weights=PATHS["lidar_to_camera"],
    ).eval()
    trained.student.pts_bbox_head.bbox_coder.max_num = 20  # of a map of few cells
    batch = small_detectors.batch("centerpoint")
    found, adds = [], []
    for model in (trained, trained.student):
        data = model.data_preprocessor(copy.deepcopy(batch), False)
        with torch.no_grad(), counted(model) as layers:
            found.append(model(**data, mode="predict"))
        adds.append(sum(layers.values()))
    assert adds[0] == adds[1] > 0
    for sample, other in zip(*found, strict=True):
        assert sample.keys() == other.keys()
        own, alone = sample.pred_instances_3d, other.pred_instances_3d
        assert own.keys() == alone.keys()
        assert torch.equal(own.bboxes_3d.tensor, alone.bboxes_3d.tensor)
        assert torch.equal(own.scores_3d, alone.scores_3d)


def test_paths_have_the_papers_weights():
    assert set(PATHS) == {
        f"{a}_to_{b}" for a, b in (("lidar", "camera"), ("camera", "lidar"), ("fusion", "lidar"))
    } | {"fusion_to_camera"}
    assert all(set(weights) == TERMS for weights in PATHS.values())
