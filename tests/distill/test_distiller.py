# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from lidistill.distill.audit import AuditError, audit, check_teachers
from lidistill.distill.calls import call_model
from lidistill.distill.distiller import Distiller
from lidistill.distill.schedules import Ramp
from lidistill.distill.teacher import Teacher
from tests.distill.toys import ToyBatch, ToyMethod, ToyNet, toy_batch


def train_step(method: Distiller, **optim) -> dict:
    wrapper = OptimWrapper(torch.optim.SGD(method.parameters(), lr=0.1, **optim))
    return method.train_step({"inputs": toy_batch()}, wrapper)


def test_state_dict_parameters_and_count_exclude_the_teacher():
    method = ToyMethod()
    assert all(key.startswith(("student.", "connectors.")) for key in method.state_dict())
    own = {id(p) for p in method.parameters()}
    assert not own & {id(p) for p in method.teachers["big"].model.parameters()}


def test_training_changes_the_student_and_not_the_teacher():
    method = ToyMethod()
    method.train()
    before = copy.deepcopy(method.teachers["big"].model.state_dict())
    student = method.student.first.weight.clone()
    logs = train_step(method)
    assert not torch.equal(method.student.first.weight, student)
    after = method.teachers["big"].model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not method.teachers["big"].model.training
    assert logs["rows_used"] == 8


def test_weights_are_logged_before_and_after():
    method = ToyMethod(weights={"mse": Ramp(2.0, 4.0)})
    method.progress = 0.5
    losses = method(toy_batch(), mode="loss")
    torch.testing.assert_close(losses["loss_mse"].detach(), 3.0 * losses["raw_mse"])
    total, _ = method.parse_losses(losses)
    torch.testing.assert_close(total, losses["loss_mse"])


def test_only_weighted_terms_are_summed_whatever_they_are_called():
    """mmengine adds whatever has "loss" in its name."""

    class Named(ToyMethod):
        def distill_losses(self, student, teachers, batch):
            self.observe("places_of_the_loss", 1000)
            return {"feature_loss": super().distill_losses(student, teachers, batch)["mse"]}

    method = Named(weights={"feature_loss": 3.0})
    losses = method(toy_batch(), mode="loss")
    total, logs = method.parse_losses(losses)
    torch.testing.assert_close(total, losses["loss_feature_loss"])
    assert {"raw_feature_loss", "places_of_the_loss", "loss"} <= logs.keys()
    assert logs["places_of_the_loss"] == 1000


def test_weight_of_an_unknown_term_is_an_error():
    with pytest.raises(ValueError, match=r"\['typo'\].*its terms are \['mse'\]"):
        ToyMethod(weights={"typo": 1.0})(toy_batch(), mode="loss")


def test_a_term_does_not_replace_a_loss_of_the_student():
    """A detector's own ``loss_cls`` was not trained where a term was called "cls"."""
    method = ToyMethod()
    result = method.forward_terms(toy_batch())
    result.student_losses = {"loss_cls": torch.ones(()), "loss_mse": torch.ones(())}
    with pytest.raises(ValueError, match=r"^loss_mse of ToyMethod would replace .*'loss_cls'"):
        method.weigh(result)


def test_predict_goes_straight_to_the_student():
    method = ToyMethod().eval()
    out = method.val_step({"inputs": toy_batch()})
    torch.testing.assert_close(out, method.student(toy_batch().rows))


def test_device_and_dtype_reach_the_teacher():
    method = ToyMethod().double()
    assert method.teachers["big"].model.first.weight.dtype == torch.float64
    assert method.to("cpu").teachers["big"].model.first.weight.device.type == "cpu"


def test_copied_distiller_shares_its_teachers():
    method = ToyMethod()
    assert copy.deepcopy(method).teachers["big"] is method.teachers["big"]


def test_mmengine_student_runs_its_own_preprocessor_and_loss():
    class Detector(BaseModel):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, inputs, data_samples=None, mode="tensor"):
            out = self.layer(torch.stack(inputs))
            return {"loss_own": out.sum()} if mode == "loss" else out

    class Method(Distiller):
        def distill_losses(self, student, teachers, batch):
            return {"same": (student.x.features - teachers["t"].x.features).square().mean()}

    method = Method(
        Detector(),
        {"x": "layer"},
        {"t": Teacher(Detector(), {"x": "layer"})},
        weights={"same": 2.0},
    )
    losses = method([torch.ones(3), torch.zeros(3)], [None, None], mode="loss")
    assert {"loss_own", "loss_same", "raw_same"} <= losses.keys()


def test_plain_module_without_inputs_is_an_error():
    with pytest.raises(ValueError, match=r"say which batch fields"):
        call_model(ToyNet(), toy_batch(), None, "loss", True)
    with pytest.raises(ValueError, match=r"ToyBatch has no \['points'\]"):
        call_model(ToyNet(), toy_batch(), ("points",), "loss", True)


def test_audit_reports_norms_and_leaves_no_trace():
    method = ToyMethod().train()
    torch.manual_seed(3)
    state = copy.deepcopy(method.state_dict())
    random = torch.random.get_rng_state()
    report = audit(method, toy_batch())
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(state[key], value) for key, value in method.state_dict().items())
    method(toy_batch(), mode="loss")["loss_mse"].backward()
    expected = sum(
        p.grad.double().square().sum() for p in method.student.parameters() if p.grad is not None
    ).sqrt()
    assert report.gradient_norms["mse"]["student"] == pytest.approx(float(expected), rel=1e-5)
    assert report.shares == {"mse": 1.0}
    assert report.coverage == {"rows_used": 8}
    assert "student.hidden" in report.features
    assert "big.hidden" in report.features
    assert "share 100%" in str(report)


def test_audit_names_a_term_without_gradient():
    with pytest.raises(AuditError, match="'dead' gives the student no gradient"):
        audit(ToyMethod(dead=True), toy_batch())


def test_audit_names_a_connector_that_nothing_passes_through():
    """An adapter under a name that the method does not read was trained by nothing."""
    method = ToyMethod()
    method.connectors["widn"] = nn.Linear(4, 6)
    with pytest.raises(AuditError, match=r"^connectors\.widn: no term has a gradient there"):
        audit(method, toy_batch())
    method.connectors["widn"].requires_grad_(False)  # a frozen one has none to have
    audit(method, toy_batch())


def test_teacher_in_train_mode_with_gradient_or_inside_is_an_error():
    method = ToyMethod()
    method.teachers["big"].model.train()
    with pytest.raises(AuditError, match="in train mode"):
        check_teachers(method)
    method.teachers["big"].freeze()
    method.teachers["big"].model.requires_grad_(True)
    with pytest.raises(AuditError, match="parameters with gradient"):
        check_teachers(method)
    method.teachers["big"].freeze()
    method.stolen = method.teachers["big"].model
    with pytest.raises(AuditError, match="part of the Distiller"):
        check_teachers(method)


def test_empty_batch_of_a_plain_student_is_passed_on():
    batch = ToyBatch(torch.zeros(2, 3))
    assert ToyMethod().train()(batch, mode="loss")["loss_mse"].requires_grad


def test_teacher_checkpoint(tmp_path):
    source = ToyNet(6)
    torch.save({"state_dict": {f"student.{k}": v for k, v in source.state_dict().items()}},
               tmp_path / "teacher.pth")  # fmt: skip
    method = ToyMethod(checkpoint=str(tmp_path / "teacher.pth"))
    assert torch.equal(method.teachers["big"].model.first.weight, source.first.weight)
    torch.save({"first.weight": source.first.weight}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"1 of 9 tensors matched.*first.bias"):
        ToyMethod(checkpoint=str(tmp_path / "part.pth"))
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        ToyMethod(checkpoint=str(tmp_path / "none.pth"))


def test_checkpoint_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="no readable checkpoint"):
        ToyMethod(checkpoint=str(tmp_path / "evil.pth"))


def test_autocast_runs_the_teacher_in_its_own_type():
    method = ToyMethod(autocast="bfloat16")
    assert method.teachers["big"](toy_batch()).hidden.features.dtype == torch.bfloat16
