# SPDX-License-Identifier: Apache-2.0
"""Published BEV detectors' names, axes and boxes, brought into ours: outputs are compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill import cli, compat
from lidistill.distill.calls import call_model
from lidistill.distill.weights import load_weights
from lidistill.engine.configs.read import load_config
from lidistill.engine.synthetic import synthetic_batch
from lidistill.export.bev_detectors import import_bev_detector
from lidistill.registry import MODELS
from tests.conftest import ROOT

CAMERA, LIDAR, FUSION = (
    ROOT / f"configs/detection/bev_{name}_world.py" for name in ("camera", "lidar", "fusion")
)
NEW = {"mmdet3d_version": "1.0.0rc4"}


def lively(config):
    """A detector whose weights and statistics are all different."""
    compat.apply()
    torch.manual_seed(1)
    model = MODELS.build(load_config(config).model).eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand_like(value)
            value.copy_(0.5 + noise if name.endswith("running_var") else value + 0.1 * noise)
    return model


def save(folder, state, meta):
    path = folder / "theirs.pth"
    torch.save({"state_dict": state, "meta": meta}, path)
    return path


def outputs(model, config):
    batch = synthetic_batch(load_config(FUSION), model, 500)
    with torch.no_grad():
        return call_model(model, batch, None, "tensor", False)


def test_mmdet3ds_centerpoint_fits_as_it_is(tmp_path):
    """The very names of mmdet3d's CenterPoint, with sparse kernels of spconv 1."""
    model = lively(LIDAR)
    state = {
        name: value.permute(1, 2, 3, 4, 0).contiguous() if value.ndim == 5 else value
        for name, value in model.state_dict().items()
    }
    path = save(tmp_path, state, NEW)
    report = import_bev_detector(path, LIDAR, tmp_path / "ours.pth")
    assert report.left == []
    assert report.counts()["made"] == 0
    assert "boxes as mmdet3d 1.0 counts them" in report.remarks
    other = MODELS.build(load_config(LIDAR).model).eval()
    load_weights(other, tmp_path / "ours.pth")
    first, second = outputs(model, LIDAR), outputs(other, LIDAR)
    assert torch.equal(first[0][0]["heatmap"], second[0][0]["heatmap"])


def test_of_a_student_and_the_teacher_that_follows_it_the_student_is_taken(tmp_path):
    """Mean Teacher's checkpoints hold both, the teacher under a detector's own names."""
    state = lively(LIDAR).state_dict()
    content = {
        "state_dict": {f"student.{name}": value for name, value in state.items()},
        "teachers": {"teacher": {name: value + 1 for name, value in state.items()}},
        "meta": NEW,
    }
    torch.save(content, tmp_path / "iter.pth")
    report = import_bev_detector(tmp_path / "iter.pth", LIDAR, None)
    assert "(a Distiller of lidistill)" in report.title
    assert all(torch.equal(report.parts[name].tensor, value) for name, value in state.items())
    assert {str(part.source).split(".")[0] for part in report.left} == {"teachers"}


def test_heads_before_1_0_say_the_same_boxes(tmp_path):
    """An old head's yaw and sizes, read by the old rules, are the imported head's by the new."""
    model = lively(LIDAR)
    report = import_bev_detector(
        save(tmp_path, model.state_dict(), {"mmdet3d_version": "0.18.1"}),
        LIDAR,
        tmp_path / "ours.pth",
    )
    assert any("before 1.0" in remark for remark in report.remarks)
    other = MODELS.build(load_config(LIDAR).model).eval()
    load_weights(other, tmp_path / "ours.pth")
    old, new = outputs(model, LIDAR)[0][0], outputs(other, LIDAR)[0][0]
    yaw_0, yaw = (torch.atan2(out["rot"][:, 0], out["rot"][:, 1]) for out in (old, new))
    turn = yaw - (-yaw_0 - np.pi / 2)
    torch.testing.assert_close(turn.cos(), torch.ones_like(turn), atol=1e-5, rtol=0)
    torch.testing.assert_close(new["dim"], old["dim"][:, [1, 0, 2]])
    for same in ("heatmap", "reg", "height", "vel"):
        assert torch.equal(new[same], old[same])


def test_boxes_that_nobody_explains_are_refused(tmp_path):
    path = save(tmp_path, lively(LIDAR).state_dict(), {})
    with pytest.raises(ValueError, match="say --boxes mmdet3d-1 or --boxes mmdet3d-0"):
        import_bev_detector(path, LIDAR, None)
    assert import_bev_detector(path, LIDAR, None, "mmdet3d-1").left == []
    path = save(tmp_path, lively(LIDAR).state_dict(), NEW)
    with pytest.raises(ValueError, match="written as mmdet3d-1, --boxes says mmdet3d-0"):
        import_bev_detector(path, LIDAR, None, "mmdet3d-0")
    with pytest.raises(ValueError, match="boxes to be one of"):
        import_bev_detector(path, LIDAR, None, "mine")


def test_other_classes_are_refused(tmp_path):
    meta = {**NEW, "CLASSES": ("pedestrian", "car")}
    path = save(tmp_path, lively(LIDAR).state_dict(), meta)
    with pytest.raises(ValueError, match="heatmap k is not the same thing"):
        import_bev_detector(path, LIDAR, None)


def renamed(state, names):
    """Ours -> theirs, by prefix; what no prefix names is left out."""
    return {
        theirs + name.removeprefix(ours): value
        for name, value in state.items()
        for ours, theirs in names.items()
        if name.startswith(ours)
    }


def test_bevdet_and_bevdepth_by_their_names(tmp_path):
    state = lively(CAMERA).state_dict()
    bevdet = {
        "img_backbone.": "img_backbone.",
        "view_transform.depth_net.conv.": "img_view_transformer.depth_net.",
        "pts_bbox_head.": "pts_bbox_head.",
    }
    bevdepth = {
        "img_backbone.": "model.backbone.img_backbone.",
        "pts_backbone.": "model.head.trunk.",
        "pts_bbox_head.": "model.head.",
    }
    for project, names in (("BEVDet", bevdet), ("BEVDepth", bevdepth)):
        theirs = {**renamed(state, names), "extra.weight": torch.ones(2)}
        report = import_bev_detector(save(tmp_path, theirs, NEW), CAMERA, tmp_path / "ours.pth")
        assert f"({project})" in report.title
        assert [part.source for part in report.left] == ["state_dict.extra.weight"]
        wanted = [name for name in state if name.startswith(tuple(names))]
        for name in wanted:
            assert torch.equal(report.parts[name].tensor, state[name]), name
            assert report.parts[name].original is not None
        assert any("pts_neck: " in remark and "random" in remark for remark in report.remarks)


def test_bevfusion_has_x_along_rows(tmp_path):
    """Its BEV network, run on a transposed map, gives the transposed result of the imported one."""
    model = lively(FUSION)
    state = model.state_dict()
    theirs = renamed(
        state,
        {
            "img_backbone.": "encoders.camera.backbone.",
            "view_transform.depth_net.conv.": "encoders.camera.vtransform.depthnet.",
            "pts_middle_encoder.": "encoders.lidar.backbone.",
            "pts_backbone.": "decoder.backbone.",
            "pts_neck.": "decoder.neck.",
            "pts_bbox_head.": "heads.object.",
        },
    )
    report = import_bev_detector(save(tmp_path, theirs, {}), FUSION, tmp_path / "ours.pth")
    assert "(BEVFusion)" in report.title
    assert report.parts["pts_bbox_head.shared_conv.conv.weight"].original is None
    assert any("x along rows" in part.note for part in report.left)
    assert torch.equal(
        report.parts["pts_middle_encoder.conv_input.0.weight"].tensor,
        state["pts_middle_encoder.conv_input.0.weight"].permute(0, 3, 2, 1, 4),
    )
    other = MODELS.build(load_config(FUSION).model).eval()
    load_weights(other, tmp_path / "ours.pth")
    bev = torch.randn(1, 64, 16, 24)
    with torch.no_grad():
        wanted = model.pts_neck(model.pts_backbone(bev))[0]
        found = other.pts_neck(other.pts_backbone(bev.transpose(2, 3)))[0]
    torch.testing.assert_close(found.transpose(2, 3), wanted, atol=1e-4, rtol=1e-4)


def test_nothing_fits(tmp_path):
    path = save(tmp_path, {"a.weight": torch.ones(3)}, {})
    with pytest.raises(ValueError, match=r"nothing of .* fits"):
        import_bev_detector(path, CAMERA, None)
    other = ROOT / "configs/detection/second_world.py"
    with pytest.raises(ValueError, match="not a BEVDetector"):
        import_bev_detector(path, other, None)


def test_the_verb(tmp_path, capsys):
    path = save(tmp_path, lively(LIDAR).state_dict(), NEW)
    out = tmp_path / "ours.pth"
    assert cli.main(["import_weights", str(path), str(out), "--config", str(LIDAR)]) == 0
    assert out.is_file()
    assert "boxes as mmdet3d 1.0 counts them" in capsys.readouterr().out
