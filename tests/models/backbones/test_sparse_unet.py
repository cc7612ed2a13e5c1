# SPDX-License-Identifier: Apache-2.0
"""SparseUNet against the same network written with dense convolutions and occupancy masks."""

import pytest
import torch
import torch.nn.functional as F

from lidistill.models.backbones.sparse_blocks import lay_out, sparse_tensor
from lidistill.models.backbones.sparse_unet import SparseUNet

SMALL = {
    "in_channels": 2,
    "out_channels": 5,
    "stem": 4,
    "planes": (4, 6, 6, 8),
    "blocks": (1, 2, 1, 1),
}
SHAPE = (5, 9, 12)


def voxels(seed=0, count=80, batch_size=2, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    limits = (batch_size, *shape)
    coords = torch.stack([torch.randint(n, (count,), generator=generator) for n in limits], 1)
    coords = torch.unique(coords, dim=0)
    coords = coords[torch.randperm(len(coords), generator=generator)].int().contiguous()
    return torch.randn(len(coords), 2, generator=generator), coords


def make(**options):
    torch.manual_seed(0)
    model = SparseUNet(**{**SMALL, **options})
    for module in model.modules():  # so that norms matter in eval mode
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def dense_weight(layer):
    return layer.weight.permute(0, 4, 1, 2, 3)  # [out, kz, ky, kx, in] -> [out, in, kz, ky, kx]


def dense_norm(norm, x):
    args = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    return F.batch_norm(x, *args, training=False, eps=norm.eps)


def dense_block(block, x, mask):
    shortcut = x
    if block.downsample is not None:
        linear, norm = block.downsample
        shortcut = dense_norm(norm, F.conv3d(x, linear.weight[:, :, None, None, None]))
    y = F.conv3d(x, dense_weight(block.conv1), padding=1)
    y = dense_norm(block.norm1, y).relu() * mask
    y = dense_norm(block.norm2, F.conv3d(y, dense_weight(block.conv2), padding=1))
    return (y + shortcut).relu() * mask


def dense_unet(model, x, mask):
    masks, skips = [mask], []
    x = dense_norm(model.bn0, F.conv3d(x, dense_weight(model.conv0p1s1), padding=1)).relu() * mask
    skips.append(x)
    for level in range(model.levels):
        mask = F.max_pool3d(mask, 2)
        masks.append(mask)
        down = getattr(model, f"conv{level + 1}p{2**level}s2")
        norm = getattr(model, f"bn{level + 1}")
        x = dense_norm(norm, F.conv3d(x, dense_weight(down), stride=2)).relu() * mask
        for block in getattr(model, f"block{level + 1}"):
            x = dense_block(block, x, mask)
        skips.append(x)
    for stage in range(model.levels, 2 * model.levels):
        level = 2 * model.levels - stage - 1
        up = getattr(model, f"convtr{stage}p{2 ** (level + 1)}s2")
        weight = up.weight.permute(4, 0, 1, 2, 3)  # [in, out, kz, ky, kx]
        x = F.conv_transpose3d(x, weight, stride=2)
        x = dense_norm(getattr(model, f"bntr{stage}"), x).relu() * masks[level]
        x = torch.cat([x, skips[level]], 1)
        for block in getattr(model, f"block{stage + 1}"):
            x = dense_block(block, x, masks[level])
    return x


def test_equals_dense_network_in_values_and_gradients():
    model = make().double()
    features, coords = voxels()
    features = features.double()
    padded = (8, 12, 12)  # the next multiples of 4
    batch, z, y, x = coords.long().unbind(1)
    dense = lay_out(sparse_tensor(features, coords, padded, 2))
    mask = lay_out(sparse_tensor(torch.ones(len(coords), 1).double(), coords, padded, 2))
    expected = model.final(dense_unet(model, dense, mask)[batch, :, z, y, x])
    got = model(features, coords, SHAPE, 2)
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)

    pull = torch.randn(got.shape, generator=torch.Generator().manual_seed(1)).double()
    parameters = list(model.parameters())
    have = torch.autograd.grad((got * pull).sum(), parameters)
    want = torch.autograd.grad((expected * pull).sum(), parameters)
    for a, b in zip(have, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_order_of_voxels_and_other_samples_do_not_matter():
    model = make()
    features, coords = voxels()
    full = model(features, coords, SHAPE, 2)
    order = torch.randperm(len(coords))
    torch.testing.assert_close(model(features[order], coords[order], SHAPE, 2), full[order])
    first = coords[:, 0] == 0
    alone = model(features[first], coords[first], SHAPE, 1)
    torch.testing.assert_close(alone, full[first])


def test_far_border_of_an_odd_grid_takes_part():
    model = make()
    coords = torch.tensor([[0, 4, 8, 11], [0, 4, 8, 10]], dtype=torch.int32)
    features = torch.ones(2, 2, requires_grad=True)
    out = model(features, coords, SHAPE, 1)
    out[0].sum().backward()
    assert torch.all(features.grad.abs().sum(1) > 0)


def test_output_layer_and_norm():
    features, coords = voxels()
    unit = make(normalize=True)(features, coords, SHAPE, 2)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(len(coords)))
    headless = make(out_channels=0)
    assert headless.out_channels == 8
    raw = headless(features, coords, SHAPE, 2)
    torch.testing.assert_close(raw, headless.features(features, coords, SHAPE, 2))


def test_momenta_reach_the_norms_they_reach_in_the_release():
    model = make(norm_momentum=0.05)
    momenta = {n: m.momentum for n, m in model.named_modules() if hasattr(m, "momentum")}
    inside = {n for n in momenta if ".norm" in n}
    assert {momenta[n] for n in inside} == {0.1}
    assert {momenta[n] for n in momenta if n not in inside} == {0.05}
    assert any("downsample" in n for n in momenta)


def test_training_step_lowers_a_loss():
    model = make().train()
    features, coords = voxels()
    target = torch.randn(len(coords), 5, generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(12):
        loss = (model(features, coords, SHAPE, 2) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, c: (f[:-1], c), "expected features"),
        (lambda f, c: (f, c[:, :3]), r"coords \(V, 4\)"),
        (lambda f, c: (f, c[:, [0, 3, 2, 1]]), "z y x order"),
        (lambda f, c: (f, c - 1), "must lie in"),
    ],
)
def test_bad_voxels(change, message):
    features, coords = change(*voxels())
    with pytest.raises(ValueError, match=message):
        make()(features, coords, SHAPE, 2)


def test_bad_sizes():
    with pytest.raises(ValueError, match="one even length"):
        SparseUNet(planes=(4, 4, 4), blocks=(1, 1, 1))
