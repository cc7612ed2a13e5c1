# SPDX-License-Identifier: Apache-2.0
"""Resume under torch's safe unpickler, refusal of anything else, weights without a version."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from lidistill import compat

compat.apply()
pytest.importorskip("mmengine")
from mmengine.model import BaseModel  # noqa: E402
from mmengine.runner import Runner  # noqa: E402


class Toy(BaseModel):
    """One linear layer that trains on a batch of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x, mode="tensor"):
        out = self.layer(x)
        return {"loss": out.square().mean()} if mode == "loss" else out

    def train_step(self, data, optim_wrapper):
        return super().train_step({"x": data}, optim_wrapper)


def train(work_dir, load_from=None):
    """Two epochs with all that a checkpoint holds: EMA, optimizer, schedule, histories."""
    runner = Runner(
        Toy(),
        str(work_dir),
        train_dataloader={
            "batch_size": 2,
            "dataset": [torch.tensor([i / 7, 1 - i / 5]) for i in range(8)],
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.1}},
        param_scheduler={"type": "CosineAnnealingLR", "T_max": 2, "by_epoch": True},
        custom_hooks=[{"type": "EMAHook"}],
        load_from=load_from and str(load_from),
        resume=load_from is not None,
        randomness={"seed": 0},
        log_level="ERROR",
        experiment_name=work_dir.name,
    )
    return runner.train().state_dict()


def test_resumed_training_ends_as_undisturbed_training(tmp_path):
    whole = train(tmp_path / "whole")
    resumed = train(tmp_path / "resumed", tmp_path / "whole" / "epoch_1.pth")
    assert not (tmp_path / "resumed" / "epoch_1.pth").exists()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def saved(thing) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    buffer.seek(0)
    return buffer


def test_histories_and_arrays_load():
    from mmengine.logging import HistoryBuffer

    state = {
        "loss": HistoryBuffer([1.0, 3.0], [1, 1]),
        "scalar": np.float32(2.5),
        "flag": np.bool_(True),
        "counts": np.arange(3),
        "half": np.ones(2, dtype=np.float16),
    }
    loaded = torch.load(saved(state))
    assert loaded["loss"].mean() == 2.0
    assert loaded["loss"].statistics("max") == 3.0
    assert loaded["scalar"] == 2.5
    assert loaded["flag"]
    assert loaded["counts"].tolist() == [0, 1, 2]
    assert loaded["half"].dtype == np.float16


class RunsCode:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (os.system, "true"),
        (eval, "1"),
        (exec, "pass"),
        (__import__, "os"),
        (subprocess.call, "true"),
        (getattr, str, "format"),
        (shutil.rmtree, "nowhere"),
    ],
    ids=lambda call: call[0].__name__,
)
def test_a_checkpoint_that_runs_code_is_refused(call):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(saved({"state_dict": RunsCode(*call)}))


@pytest.mark.parametrize("name", ["__init__", "__globals__", "__class__", "update"])
def test_getattr_reaches_the_four_statistics_only(name):
    from mmengine.logging import HistoryBuffer

    with pytest.raises(pickle.UnpicklingError, match="no Runner of mmengine"):
        torch.load(saved({"x": RunsCode(getattr, HistoryBuffer, name)}))
    assert torch.load(saved({"x": RunsCode(getattr, HistoryBuffer, "mean")}))["x"]


def test_unversioned_spconv_weights_load_as_they_are():
    spconv = pytest.importorskip("spconv.pytorch")
    pytest.importorskip("mmdet3d.models.layers.spconv")
    for size in (1, 3):
        source, target = spconv.SubMConv3d(4, 6, size), spconv.SubMConv3d(4, 6, size)
        target.load_state_dict(dict(source.state_dict()))
        assert torch.equal(source.weight, target.weight)


def test_mmcvs_old_layout_is_still_converted():
    spconv = pytest.importorskip("spconv.pytorch")
    pytest.importorskip("mmdet3d.models.layers.spconv")
    layer = spconv.SubMConv3d(4, 6, 3, bias=False)
    old = torch.randn(3, 3, 3, 4, 6)
    layer.load_state_dict({"weight": old})
    assert torch.equal(layer.weight, old.permute(4, 0, 1, 2, 3))


def test_mmengine_reads_checkpoints_with_their_check_sums(tmp_path):
    """To resume and to start from: torch alone takes a flipped bit for other weights."""
    compat.apply()
    from mmengine.runner import CheckpointLoader

    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"weight": torch.arange(1000.0)}}, path)
    found = CheckpointLoader.load_checkpoint(str(path), map_location="cpu")
    assert torch.equal(found["state_dict"]["weight"], torch.arange(1000.0))
    data = bytearray(path.read_bytes())
    place = bytes(data).find(torch.arange(1000.0).numpy().tobytes())
    data[place + 2000] ^= 4
    path.write_bytes(data)
    assert not torch.equal(torch.load(path)["state_dict"]["weight"], torch.arange(1000.0))
    with pytest.raises(ValueError, match=r"a\.pth .*check sum"):
        CheckpointLoader.load_checkpoint(str(path), map_location="cpu")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*b\.pth"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "b.pth"))
