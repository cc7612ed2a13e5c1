# SPDX-License-Identifier: Apache-2.0
"""Image teachers in training: values against loops, gradients, learning on toy textures."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lidistill.datasets.frame import PairBatch
from lidistill.datasets.images import ImageCrops, ViewBatch, collate_views
from lidistill.models.teachers.pretrain import DenseImageContrast, SupervisedImageTeacher
from lidistill.models.teachers.small import SmallImageNet


class Identity(nn.Module):
    """A 'network' of stride 1 whose map is its input."""

    out_channels, stride = 3, 1

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return images * self.scale


def view_batch(points=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rowcol = torch.stack([torch.randint(n, (2, points), generator=generator) for n in (8, 10)], -1)
    return ViewBatch(
        views=torch.randn(2, 2, 3, 8, 10, generator=generator),
        image=torch.randint(2, (points,), generator=generator),
        rowcol=rowcol.float(),
    )


def test_contrast_equals_a_loop():
    torch.manual_seed(0)
    model = DenseImageContrast(Identity(), embedding=4, hidden=8, temperature=0.3)
    batch = view_batch()
    z = []
    for view in (0, 1):
        rows = []
        for p in range(6):
            row, column = batch.rowcol[view, p].long()
            vector = batch.views[view, batch.image[p], :, row, column]
            rows.append(F.normalize(model.projection(vector[None]), dim=1)[0].detach())
        z.append(rows)
    total = 0.0
    for a, b in ((0, 1), (1, 0)):
        for i in range(6):
            e = [math.exp(float(z[a][i] @ z[b][j]) / 0.3) for j in range(6)]
            total -= math.log(e[i] / sum(e)) / 12
    losses = model(batch, mode="loss")
    assert abs(float(losses["loss_contrast"].detach()) - total) < 1e-5
    match = np.mean([float(a @ b) for a, b in zip(*z, strict=True)])
    assert abs(float(losses["matched_similarity"]) - match) < 1e-6


def test_identical_views_match_perfectly():
    model = DenseImageContrast(Identity())
    batch = view_batch()
    batch.views[1], batch.rowcol[1] = batch.views[0].clone(), batch.rowcol[0].clone()
    assert float(model(batch, mode="loss")["matched_similarity"]) > 1 - 1e-6


def test_gradient_reaches_network_and_head_and_no_points_is_zero():
    model = DenseImageContrast(SmallImageNet(width=8, out_channels=8))
    batch = ViewBatch(
        torch.randn(2, 2, 3, 32, 48), torch.tensor([0, 1, 1]), torch.rand(2, 3, 2) * 31
    )
    model(batch, mode="loss")["loss_contrast"].backward()
    for name, parameter in model.named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name
    empty = ViewBatch(batch.views, batch.image[:0], batch.rowcol[:, :0])
    loss = model(empty, mode="loss")["loss_contrast"]
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_feature_maps_of_images_and_of_views():
    model = DenseImageContrast(SmallImageNet(width=8, out_channels=8))
    assert model(torch.randn(1, 3, 32, 48)).shape == (1, 8, 8, 12)
    assert model(view_batch()).shape[:2] == (4, 8)


def test_train_step_of_mmengine_and_names_in_the_checkpoint():
    from mmengine.optim import OptimWrapper

    torch.manual_seed(0)
    network = SmallImageNet(width=8, out_channels=8)
    model = DenseImageContrast(network)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    log = model.train_step({"inputs": view_batch()}, wrapper)
    assert set(log) == {"loss", "loss_contrast", "matched_similarity"}
    names = {f"student.{name}" for name in network.state_dict()}
    assert names < set(model.state_dict())


def textures(index, rng):
    """An image whose left and right halves differ by texture, never by colour."""
    image = np.zeros((64, 96, 3))
    stripes = (np.arange(64)[:, None] // 3 % 2) * np.ones((64, 48))
    checks = (np.arange(64)[:, None] // 2 + np.arange(48)[None] // 2) % 2
    halves = [stripes, checks]
    if rng.random() < 0.5:
        halves.reverse()
    image[..., :] = np.concatenate(halves, 1)[..., None] * rng.uniform(0.3, 1, 3)
    return (255 * image.clip(0, 1)).astype(np.uint8), (halves[0] is checks)


def test_contrast_learns_what_random_weights_do_not_have():
    """Matched points become more alike than points of the other texture."""
    torch.manual_seed(0)
    crops = ImageCrops.__new__(ImageCrops)
    crops.size, crops.area, crops.ratio = (48, 64), (0.3, 0.9), (1.2, 1.8)
    crops.points, crops.min_overlap = 24, 0.2
    from lidistill.datasets.photometric import ColourJitter

    crops.jitter = ColourJitter()
    rng = np.random.default_rng(0)
    model = DenseImageContrast(SmallImageNet(width=16, out_channels=16), temperature=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        samples = [crops.two_views(textures(0, rng)[0], rng, {}) for _ in range(4)]
        loss = model(collate_views(samples)["inputs"], mode="loss")["loss_contrast"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def pair_batch():
    generator = torch.Generator().manual_seed(0)
    values = dict.fromkeys(field.name for field in dataclasses.fields(PairBatch))
    values.update(
        images=torch.randn(2, 3, 8, 10, generator=generator),
        pair_point=torch.tensor([0, 1, 2, 3, 4, 1]),
        pair_image=torch.tensor([0, 0, 1, 1, 1, 1]),
        pair_rowcol=torch.tensor([[0, 0], [3, 4], [7, 9], [2, 2], [5, 1], [6, 6]]),
        point_labels=torch.tensor([9, 17, 24, 0, 17], dtype=torch.uint8),
        batch_size=1,
    )
    return PairBatch(**values)


TABLE = [0] * 32
TABLE[9], TABLE[17], TABLE[24] = 1, 2, 3


def test_supervised_loss_equals_a_loop():
    torch.manual_seed(0)
    model = SupervisedImageTeacher(Identity(), 4, TABLE)
    batch = pair_batch()
    losses = model(batch, mode="loss")
    labels = [1, 2, 3, 0, 2, 2]
    weight = {1: 1.0, 2: 3**-0.5, 3: 1.0}
    total = mass = 0.0
    for p, label in enumerate(labels):
        if label:
            row, column = batch.pair_rowcol[p]
            scores = model.classifier(batch.images[batch.pair_image[p], :, row, column])
            total -= weight[label] * float(scores.log_softmax(0)[label].detach())
            mass += weight[label]
    assert abs(float(losses["loss_class"].detach()) - total / mass) < 1e-5
    losses["loss_class"].backward()
    assert float(model.student.scale.grad.abs()) > 0
    assert 0 <= float(losses["accuracy"]) <= 1


def test_supervised_without_labels():
    model = SupervisedImageTeacher(Identity(), 4, TABLE)
    batch = pair_batch()
    batch.point_labels = torch.zeros(5, dtype=torch.uint8)
    loss = model(batch, mode="loss")["loss_class"]
    loss.backward()
    assert float(loss.detach()) == 0.0
    batch.point_labels = None
    with pytest.raises(ValueError, match="LoadPointLabels"):
        model(batch, mode="loss")
    assert model(batch).shape == batch.images.shape
    assert model(batch.images).shape == batch.images.shape
