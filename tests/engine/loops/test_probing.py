# SPDX-License-Identifier: Apache-2.0
import dataclasses
import logging

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import ValLoop
from torch import nn

from lidistill.distill.connectors import ProjectionMap
from lidistill.engine.loops.probing import (
    Batches,
    KnnProbeLoop,
    LinearProbeLoop,
    calibrate_student,
    iou_by_class,
    probe_raw_inputs,
    probe_student,
)
from lidistill.engine.test import set_probe
from lidistill.evaluation.label_maps import NUSCENES_FINE_CLASSES
from lidistill.evaluation.probes.knn import knn_probe
from lidistill.evaluation.probes.result import ProbeSettings
from lidistill.io import read_json
from lidistill.methods import SLidR
from lidistill.registry import LOOPS
from tests.toy_pairs import make_batch

QUICK = ProbeSettings(steps=300, batch_size=256, per_class=100, learning_rate=0.1)
ROAD = NUSCENES_FINE_CLASSES.index("flat.driveable_surface")
CAR = NUSCENES_FINE_CLASSES.index("vehicle.car")


def labelled_batches(count: int = 3) -> list:
    """Voxel features that tell road (first feature negative) from car."""
    batches = []
    for seed in range(count):
        batch = make_batch(seed=seed)
        voxels = batch.voxel_features[batch.point_to_voxel]
        labels = torch.where(voxels[:, 0] > 0, CAR, ROAD).to(torch.uint8)
        batches.append(dataclasses.replace(batch, point_labels=labels))
    return batches


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, rows):
        return self.norm(rows)


def make_model() -> SLidR:
    torch.manual_seed(0)
    return SLidR(
        student=Student(),
        teacher={"model": nn.Conv2d(3, 4, 1)},
        point_head=nn.Linear(3, 5),
        image_head=ProjectionMap(4, 5),
        student_inputs=("voxel_features",),
    )


def test_features_that_hold_the_class_are_read():
    batches = labelled_batches()
    result = probe_student(make_model(), batches[:2], batches[2:], QUICK)
    assert result.miou > 0.85
    named = iou_by_class(result)
    assert named["car"] > 0.85
    assert np.isnan(named["pedestrian"])
    assert "evenly spaced training frames" in result.protocol


def test_the_model_is_not_changed():
    model, batches = make_model().train(), labelled_batches()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    probe_student(model, batches[:2], batches[2:], QUICK)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("count", [7, 40, 79, 80])
def test_batch_norm_is_calibrated_over_the_whole_data(count):
    """Of 79 frames the first 40 were taken: half of the drives."""
    first = make_batch()
    train = [
        dataclasses.replace(first, voxel_features=torch.full_like(first.voxel_features, float(row)))
        for row in range(count)
    ]
    model = make_model()
    calibrate_student(model, train)
    used = min(count, 40)
    rows = [count * number // used for number in range(used)]
    assert float(model.student.norm.running_mean[0]) == pytest.approx(sum(rows) / used, rel=1e-5)
    assert rows[-1] >= count - 2


def test_raw_inputs_without_the_class_are_not_enough():
    batches = labelled_batches()
    result = probe_raw_inputs(batches[:2], batches[2:], QUICK)
    assert result.miou < 0.8
    assert "intensity and height" in result.protocol


def test_unlabelled_frames_are_an_error():
    with pytest.raises(ValueError, match="LoadPointLabels"):
        probe_raw_inputs([make_batch()], [make_batch()], QUICK)


def test_batches_unwraps_the_loader():
    batch = make_batch()
    assert [b.tokens for b in Batches([{"inputs": batch}], "cpu")] == [batch.tokens]


def test_nearest_neighbours_read_the_class_too():
    batches = labelled_batches()
    result = probe_student(make_model(), batches[:2], batches[2:], QUICK, knn_probe)
    assert result.miou > 0.8
    assert "nearest neighbours" in result.protocol
    assert "evenly spaced training frames" in result.protocol


class Runner:
    """As much of mmengine's runner as a probe loop needs."""

    seed = 0

    def __init__(self, folder) -> None:
        self.work_dir, self.model = str(folder), make_model()
        self.logger = logging.getLogger("probe")


@pytest.mark.parametrize("loop", [LinearProbeLoop, KnnProbeLoop])
def test_loops_write_their_numbers_with_the_protocol(loop, tmp_path):
    batches = [{"inputs": batch} for batch in labelled_batches()]
    settings = {"steps": 100, "batch_size": 256, "learning_rate": 0.1}
    metrics = loop(Runner(tmp_path), batches[2:], batches[:2], settings=settings).run()
    assert metrics[f"{loop.name}/mIoU"] > 0.8
    assert metrics[f"{loop.name}/car"] > 0.8
    written = read_json(tmp_path / f"{loop.name}.json")
    assert written[f"{loop.name}/mIoU"] == metrics[f"{loop.name}/mIoU"]
    assert ("nearest" in written["protocol"]) == (loop is KnnProbeLoop)


def test_a_probe_replaces_a_probe_only():
    config = Config({"test_cfg": {"type": LinearProbeLoop}})
    with pytest.raises(ValueError, match="got 'mlp' and LinearProbeLoop"):
        set_probe(config, "mlp")
    set_probe(config, "knn")
    assert LOOPS.get(config.test_cfg.type) is KnnProbeLoop
    assert "KnnProbeLoop" in config.pretty_text  # mmengine writes it down before each run
    with pytest.raises(ValueError, match="got 'knn' and ValLoop"):
        set_probe(Config({"test_cfg": {"type": ValLoop}}), "knn")
