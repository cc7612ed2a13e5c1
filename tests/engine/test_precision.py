# SPDX-License-Identifier: Apache-2.0
"""bfloat16 and accumulated gradients: what they compute, and that a resumed run is exact."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper

from lidistill.datasets.frame import PairBatch
from lidistill.distill.image_to_lidar import VOXEL_INPUTS
from lidistill.distill.outputs import FeatureMap, Rows
from lidistill.engine.amp import BFloat16OptimWrapper
from lidistill.engine.train import train
from lidistill.io import read_json, write_json
from lidistill.methods import PPKT, SLidR, STSLidR
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.ops.precision import full_precision_of
from tests.engine.toy_slidr import ToySLidR
from tests.toy_pairs import make_batch, networks

CONFIG = Path(__file__).parent / "toy_slidr_config.py"
OPTIONS = {"model.noisy": True, "model.negatives": "rank"}


def sparse_batch(seed: int) -> PairBatch:
    """Random pairs on voxels of a small grid."""
    batch, shape = make_batch(seed=seed), (4, 8, 8)
    random = torch.Generator().manual_seed(seed)
    cells = torch.cat([torch.randperm(256, generator=random)[:20].sort().values for _ in "ab"])
    coords = torch.stack([batch.point_batch, cells // 64, cells // 8 % 8, cells % 8], dim=1)
    return dataclasses.replace(batch, voxel_coords=coords.int(), spatial_shape=shape)


def sparse_method(method: type) -> torch.nn.Module:
    parts = networks(teacher_stride=2)
    parts["student"] = SparseUNet(3, 6, stem=8, planes=(8,) * 8, blocks=(1,) * 8)
    parts["student_inputs"] = VOXEL_INPUTS
    return method(**parts, temperature=0.3).train()


def steps(model: torch.nn.Module, wrapper: type, count: int = 4) -> list[float]:
    """Losses of a few steps."""
    optimizer = wrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.05))
    torch.manual_seed(0)
    return [
        model.train_step({"inputs": sparse_batch(seed)}, optimizer)["loss"].item()
        for seed in range(count)
    ]


@pytest.mark.parametrize("method", [SLidR, STSLidR, PPKT])
def test_a_few_steps_in_bfloat16_stay_near_float32(method):
    torch.manual_seed(3)
    full = sparse_method(method)
    half = copy.deepcopy(full)
    expected, got = steps(full, OptimWrapper), steps(half, BFloat16OptimWrapper)
    assert got == pytest.approx(expected, rel=0.03)
    assert got != expected
    for name, value in half.named_parameters():
        assert value.dtype == torch.float32
        assert torch.isfinite(value).all(), name
        assert torch.isfinite(value.grad).all() if value.grad is not None else True


def test_networks_are_half_and_what_is_compared_is_not():
    model, batch = sparse_method(SLidR), sparse_batch(0)
    optimizer = BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    model.watched = {}
    half: list = []
    model.student.register_forward_hook(lambda _m, _i, output: half.append(output.dtype))
    with optimizer.optim_context(model):
        result = model.forward_terms(batch)
    assert half == [torch.bfloat16]
    ((points, pixels),) = model.watched.values()
    assert (points.dtype, pixels.dtype) == (torch.float32, torch.float32)
    assert result.terms["infonce"].dtype == torch.float32
    assert result.teachers["image"].map.features.dtype == torch.float32  # has a type of its own


def test_full_precision_leaves_what_is_full():
    grid, whole = ("a grid", 1.0), torch.ones(2, dtype=torch.float64)
    rows = Rows(torch.ones(3, 2, dtype=torch.float16))
    value = {"map": FeatureMap(whole, grid), "rows": [rows, None], "ids": torch.arange(3)}
    full = full_precision_of(value)
    assert full["map"] is value["map"]
    assert full["ids"] is value["ids"]
    assert full["rows"][0].features.dtype == torch.float32
    assert rows.features.dtype == torch.float16
    assert full_precision_of(full) is full


def test_amp_of_the_command_resumes_and_a_scale_comes_and_goes(tmp_path):
    final = train(CONFIG, tmp_path, amp=True, options=OPTIONS, quiet=True)
    weights = torch.load(final, weights_only=False)["state_dict"]
    forget_the_end(final)
    again = train(CONFIG, tmp_path, amp=True, options=OPTIONS, quiet=True)
    assert read_json(tmp_path / "run.json")["resumed_from"] == "iter_2.pth"
    for name, value in torch.load(again, weights_only=False)["state_dict"].items():
        assert torch.equal(value, weights[name]), name
    wrapper = BFloat16OptimWrapper(optimizer=torch.optim.SGD([torch.zeros(1)], lr=0.1))
    state = wrapper.state_dict()
    wrapper.load_state_dict({**state, "scaler": {"scale": 2.0}})  # written on a GPU
    state.pop("scaler")
    wrapper.load_state_dict(state)  # written in float32


def forget_the_end(final: Path) -> None:
    """Leave the folder as a kill before the last checkpoint would."""
    final.unlink()
    note = final.parent / "run.json"
    write_json(note, {"config": read_json(note)["config"]})


def test_a_step_is_the_mean_gradient_of_its_batches():
    """Five batches, two to a step: steps after the second, the fourth, and the fifth alone."""
    model = ToySLidR().train()
    other = copy.deepcopy(model)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5), accumulative_counts=2)
    optimizer.initialize_count_status(model, 0, 5)
    batches = [make_batch(seed=seed) for seed in range(5)]
    for batch in batches:
        model.train_step({"inputs": batch}, optimizer)
    for group in (batches[:2], batches[2:4], batches[4:]):
        gradients = []
        for batch in group:
            other.zero_grad()
            other(batch, mode="loss")["loss_infonce"].backward()
            gradients.append([p.grad.clone() for p in other.parameters()])
        with torch.no_grad():
            for row, parameter in enumerate(other.parameters()):
                parameter.sub_(0.5 * sum(g[row] for g in gradients) / len(group))
    for ours, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)


def test_accumulation_resumes_only_between_steps(tmp_path):
    options = {**OPTIONS, "accumulate": 3, "iters": 8}
    final = train(CONFIG, tmp_path, options=options, quiet=True)
    assert {path.name for path in tmp_path.glob("iter_*")} == {"iter_6.pth", "iter_8.pth"}
    content = torch.load(final, weights_only=False)
    forget_the_end(final)
    within = torch.load(tmp_path / "iter_6.pth", weights_only=False)
    within["meta"]["iter"] = 7
    torch.save(within, tmp_path / "iter_7.pth")
    with pytest.raises(ValueError, match=r"multiple of 3 iterations.*iteration 7"):
        train(CONFIG, tmp_path, options=options, quiet=True)
    (tmp_path / "iter_7.pth").unlink()
    again = train(CONFIG, tmp_path, options=options, quiet=True)
    assert read_json(tmp_path / "run.json")["resumed_from"] == "iter_6.pth"
    for name, value in torch.load(again, weights_only=False)["state_dict"].items():
        assert torch.equal(value, content["state_dict"][name]), name


def test_no_batch_is_too_few():
    with pytest.raises(ValueError, match="--accumulate: expected a number of batches >= 1, got 0"):
        train(CONFIG, "unused", options={"accumulate": 0})
