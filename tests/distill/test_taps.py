# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from lidistill.distill.outputs import FeatureMap, Rows, SparseVoxels, wrap_output
from lidistill.distill.taps import Tap, TapSet, find_module
from tests.distill.toys import ToyNet


def test_capture_returns_named_fields():
    net = ToyNet()
    rows = torch.randn(5, 3)
    with TapSet(net, {"hidden": "first", "out": ""}).capture(net) as outputs:
        result = net(rows)
    assert torch.equal(outputs.hidden.features, net.first(rows))
    assert torch.equal(outputs.out.features, result)


def test_wrong_path_lists_nearest_names():
    with pytest.raises(ValueError, match=r"'frist' names no module of ToyNet.*first"):
        TapSet(ToyNet(), {"hidden": "frist"})


def test_stop_early_skips_the_rest():
    net = ToyNet().eval()
    with TapSet(net, {"hidden": "first"}).capture(net, stop_early=True) as outputs:
        net(torch.randn(2, 3))
    assert outputs.hidden.features.shape == (2, 4)
    assert net.calls == 0


def test_hooks_are_removed_even_after_an_error():
    net = ToyNet()
    taps = TapSet(net, {"hidden": "first"})
    with pytest.raises(RuntimeError, match="boom"), taps.capture(net):
        raise RuntimeError("boom")
    assert not net.first._forward_hooks


def test_unreached_tap_is_an_error():
    net = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    taps = TapSet(net, {"x": "unused"})
    with pytest.raises(RuntimeError, match=r"\['x'\].*were not reached"), taps.capture(net):
        net["used"](torch.randn(1, 2))


def test_module_that_runs_twice_is_an_error():
    """A student's head on every level: the last one would have been compared with any other."""
    head = nn.Conv2d(2, 3, 1)
    levels = nn.Sequential(head, nn.Conv2d(3, 2, 1, stride=2), head)
    taps = TapSet(levels, {"x": "0", "y": "1"})
    with pytest.raises(RuntimeError, match=r"'x'.*'0' runs several times"), taps.capture(levels):
        levels(torch.randn(1, 2, 8, 8))
    assert not head._forward_hooks


def test_index_and_clone():
    class Pair(nn.Module):
        def forward(self, x):
            return [x, 2 * x]

    net = nn.Sequential(Pair())
    x = torch.ones(1, 2)
    taps = TapSet(net, {"second": "0[1]", "copy": Tap("0", index=0, clone=True)})
    with taps.capture(net) as outputs:
        net(x)
    x.zero_()
    assert outputs.second.features.tolist() == [[2, 2]]
    assert outputs.copy.features.tolist() == [[1, 1]]


def test_an_output_that_is_written_into_is_an_error():
    """The student's was behind its ReLU, the teacher's, which stops at the tap, before it."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True))
    rows, taps = torch.randn(9, 3), TapSet(net, {"norm": "1"})
    words = r"'norm'.*wrote into what '1'.*clone=True"
    with pytest.raises(RuntimeError, match=words), taps.capture(net):
        net(rows)
    with taps.capture(net, stop_early=True) as before:
        net(rows)
    with TapSet(net, {"norm": Tap("1", clone=True)}).capture(net) as copied:
        net(rows)
    torch.testing.assert_close(copied.norm.features, before.norm.features)
    assert (copied.norm.features < 0).any()
    with torch.inference_mode(), TapSet(net, {"out": "2"}).capture(net) as outputs:
        net(rows)
    assert outputs.out.features.shape == (9, 4)


class Checkpointed(nn.Module):
    """As mmdet's blocks are with ``with_cp``."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))

    def forward(self, rows):
        return torch.utils.checkpoint.checkpoint(self.block, rows, use_reentrant=True)


def test_a_tap_within_an_activation_checkpoint_is_an_error():
    """Its term had no gradient in the training, and one in the audit, which looks through."""
    net, rows = Checkpointed(), torch.randn(2, 3, requires_grad=True)
    with TapSet(net, {"whole": "block"}).capture(net) as outputs:
        net(rows)
    assert outputs.whole.features.requires_grad
    inner = TapSet(net, {"inner": "block.0"})
    words = r"'block\.0' runs without gradient.*with_cp=False"
    with pytest.raises(RuntimeError, match=words), inner.capture(net):
        net(rows)
    with torch.no_grad(), inner.capture(net) as outputs:  # a teacher
        net(rows)
    assert outputs.inner.features.shape == (2, 4)


def test_malformed_spec():
    with pytest.raises(ValueError, match="not of the form"):
        Tap.parse("neck[a]")


def test_find_module_root():
    net = ToyNet()
    assert find_module(net, "") is net


def test_wrap_output_kinds():
    class Sparse:
        features, indices = torch.zeros(3, 2), torch.zeros(3, 4, dtype=torch.int32)
        spatial_shape, batch_size = [4, 8, 8], 1

    assert isinstance(wrap_output(torch.zeros(1, 2, 3, 4), grid="grid"), FeatureMap)
    assert wrap_output(torch.zeros(1, 2, 3, 4), grid="grid").grid == "grid"
    assert isinstance(wrap_output(torch.zeros(5, 2)), Rows)
    voxels = wrap_output(Sparse())
    assert isinstance(voxels, SparseVoxels)
    assert voxels.spatial_shape == (4, 8, 8)
    assert wrap_output({"heatmap": 1}) == {"heatmap": 1}
