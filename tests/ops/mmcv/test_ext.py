# SPDX-License-Identifier: Apache-2.0
"""The stand-in for mmcv._ext: how it is put in place, and that it answers as compiled mmcv does."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill.ops.mmcv import ext as mmcv_ext
from lidistill.ops.mmcv import functions as mmcv_functions
from tests.ops import op_cases
from tests.ops.oracle import run_in_oracle

STANDS_IN = mmcv_ext.install()
needs_stand_in = pytest.mark.skipif(not STANDS_IN, reason="compiled mmcv is installed and used")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What compiled mmcv answers to every case."""
    result = tmp_path_factory.mktemp("mmcv") / "answers.npz"
    run_in_oracle(op_cases.__name__, result)
    with np.load(result) as stored:
        return dict(stored)


@needs_stand_in
def test_every_op_equals_compiled_mmcv(compiled) -> None:
    ours = op_cases.answers()
    assert ours.keys() == compiled.keys()
    wrong = []
    for case, answer in ours.items():
        expected = compiled[case]
        # mmcv's rotated IoU is float32 inside; everything else must be the same to the last bit
        # but for exp() in soft NMS.
        tolerance = 1e-5 if case.startswith("box_iou_rotated") else 0.0
        tolerance = 1e-6 if "gaussian" in case else tolerance
        same = answer.shape == expected.shape and np.allclose(
            answer, expected, rtol=0, atol=tolerance, equal_nan=True
        )
        if not same or answer.dtype != expected.dtype:
            wrong.append(case)
    assert not wrong


@needs_stand_in
def test_install_twice_changes_nothing() -> None:
    finders = list(sys.meta_path)
    assert mmcv_ext.install()
    assert sys.meta_path == finders


def test_install_imports_neither_mmcv_nor_numba() -> None:
    code = (
        "import sys; from lidistill.ops.mmcv import ext as mmcv_ext; mmcv_ext.install();"
        "print([name for name in ('mmcv', 'numba', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_compiled_mmcv_is_preferred(tmp_path, monkeypatch) -> None:
    """A package mmcv with a module _ext of its own, as compiled mmcv has."""
    package = tmp_path / "mmcv"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_ext.py").write_text("nms = 'compiled'")
    code = (
        "from lidistill.ops.mmcv import ext as mmcv_ext; print(mmcv_ext.install());"
        "import mmcv._ext; print(mmcv._ext.nms); print(mmcv_ext.install())"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(mmcv_ext.__file__).parents[3]}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "compiled", "False"]


def test_without_mmcv_the_message_says_what_to_install(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, mmcv_ext.MODULE, raising=False)
    monkeypatch.setattr(mmcv_ext.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install mmcv-lite"):
        mmcv_ext.install()


@needs_stand_in
def test_missing_op_fails_when_called_and_names_itself_and_who_asked() -> None:
    from mmcv.ops import roi_pool

    with pytest.raises(mmcv_ext.MissingOpError) as caught:
        roi_pool(torch.zeros(1, 2, 8, 8), torch.zeros(1, 5), 2)
    message = str(caught.value)
    assert "'roi_pool_forward' of mmcv.ops.roi_pool" in message
    assert f"asked for by {__name__} line " in message
    assert "MMCV_WITH_OPS=1 pip install" in message
    assert "make mmcv" in message
    extension = importlib.import_module(mmcv_ext.MODULE)
    assert not hasattr(extension, "__wrapped__")


@needs_stand_in
def test_every_answer_is_asked_for_by_mmcv() -> None:
    """No function here is misspelt: mmcv's Python half asks for each."""
    ops = mmcv_ext.ops()
    answered = {op.name for op in ops if op.answer}
    assert answered == set(mmcv_ext._functions())
    layers = {op.name: op.layer for op in ops}
    assert layers["knn_forward"] == "mmcv.ops.knn"
    assert "" in {op.answer for op in ops}


@needs_stand_in
def test_mmcv_sees_ops_and_reports_their_build() -> None:
    from mmcv.ops import get_compiler_version
    from mmcv.utils.ext_loader import check_ops_exist

    assert check_ops_exist()
    assert "lidistill" in get_compiler_version()


@needs_stand_in
@pytest.mark.parametrize("average", [False, True])
def test_dynamic_scatter_trains(average) -> None:
    from mmcv.ops import DynamicScatter

    generator = torch.Generator().manual_seed(0)
    points = torch.rand(50, 4, generator=generator).requires_grad_()
    coords = torch.randint(0, 3, (50, 4), generator=generator, dtype=torch.int32)
    coords[:, 0] = torch.arange(50) // 25  # two samples
    features, cells = DynamicScatter([1, 1, 1], [0, 0, 0, 3, 3, 3], average)(points, coords)
    rows, inverse = torch.unique(coords, dim=0, return_inverse=True)
    assert torch.equal(cells, rows)
    expected = torch.stack(
        [
            points[inverse == row].mean(0) if average else points[inverse == row].amax(0)
            for row in range(len(rows))
        ]
    )
    torch.testing.assert_close(features, expected)
    weights = torch.rand(features.shape, generator=generator)
    (found,) = torch.autograd.grad((features * weights).sum(), points)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), points)
    torch.testing.assert_close(found, wanted)


@needs_stand_in
def test_3d_suppression_and_overlap_look_at_footprints() -> None:
    from mmcv.ops import boxes_iou3d, nms3d, nms3d_normal

    boxes = torch.tensor(
        [
            [0, 0, 0, 4, 2, 2, 0.0],
            [0, 0, 5, 4, 2, 2, 0.0],  # above the first
            [0, 0, 0, 4, 2, 2, np.pi / 2],  # crosses the first: IoU 4 / 12
            [9, 9, 0, 4, 2, 2, 0.3],
        ]
    )
    scores = torch.tensor([0.5, 0.9, 0.8, 0.7])
    assert nms3d(boxes, scores, 0.3).tolist() == [1, 3]
    assert nms3d(boxes, scores, 0.4).tolist() == [1, 2, 3]
    assert nms3d_normal(boxes, scores, 0.4).tolist() == [1, 3]
    overlaps = boxes_iou3d(boxes, boxes)
    assert overlaps.diagonal().tolist() == pytest.approx([1] * 4)
    assert overlaps[0].tolist() == pytest.approx([1, 0, 1 / 3, 0], abs=1e-6)


@needs_stand_in
def test_points_in_boxes_by_index_and_by_table() -> None:
    """The Python layer of mmcv asks CUDA for its device first, so this calls below it."""
    boxes = torch.tensor([[[0.0, 0, 0, 2, 2, 2, 0], [0, 0, 0, 6, 6, 6, 0]]])
    points = torch.tensor([[[0.0, 0, 1], [2, 2, 1], [9, 9, 9]]])
    first = torch.full((1, 3), -1, dtype=torch.int32)
    table = torch.zeros((1, 3, 2), dtype=torch.int32)
    mmcv_functions.points_in_boxes_part_forward(boxes, points, first)
    mmcv_functions.points_in_boxes_all_forward(boxes, points, table)
    assert first.tolist() == [[0, 1, -1]]
    assert table.tolist() == [[[1, 1], [0, 1], [0, 0]]]


@needs_stand_in
def test_focal_losses_train_through_mmcv() -> None:
    from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, generator=generator, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    loss = sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, "sum")
    chance = logits.sigmoid()
    positive = torch.nn.functional.one_hot(labels, 4)[:, :3].bool()
    right = torch.where(positive, chance, 1 - chance)
    expected = torch.where(positive, 0.25, 0.75) * (1 - right) ** 2 * -right.log()
    torch.testing.assert_close(loss, expected.sum())
    (found,) = torch.autograd.grad(loss, logits)
    (wanted,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(found, wanted)

    labels = labels % 3
    loss = softmax_focal_loss(logits, labels, 2.0, 0.25, None, "mean")
    chance = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    expected = 0.25 * (1 - chance) ** 2 * -chance.log()
    torch.testing.assert_close(loss, expected.mean())
    (found,) = torch.autograd.grad(loss, logits)
    (wanted,) = torch.autograd.grad(expected.mean(), logits)
    torch.testing.assert_close(found, wanted)


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="NDim=3, got 2"):
        mmcv_functions.dynamic_voxelize_forward(
            torch.zeros(1, 3), torch.ones(2), torch.ones(4), torch.zeros(1, 2), NDim=2
        )
