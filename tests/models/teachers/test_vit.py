# SPDX-License-Identifier: Apache-2.0
"""ViT teachers from directories that the tests write."""

import sys

import pytest
import torch
from transformers import (
    BertConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ViTConfig,
    ViTModel,
)

from lidistill.models.teachers.image_teacher import ImageTeacher
from lidistill.models.teachers.vit import ViTTeacher

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 28,
    "patch_size": 7,
}
MODELS = {
    "dinov2": lambda: Dinov2Model(Dinov2Config(**SIZES)),
    "registers": lambda: Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(num_register_tokens=3, **SIZES)
    ),
    "dinov3": lambda: DINOv3ViTModel(DINOv3ViTConfig(num_register_tokens=4, **SIZES)),
    "vit": lambda: ViTModel(ViTConfig(**SIZES), add_pooling_layer=False),
}


@pytest.fixture(params=MODELS)
def directory(request, tmp_path):
    torch.manual_seed(0)
    MODELS[request.param]().save_pretrained(tmp_path)
    return tmp_path


def test_patch_tokens_become_a_map_row_by_row(directory):
    teacher = ViTTeacher(directory).eval()
    images = torch.randn(2, 3, 21, 35)
    with torch.no_grad():
        got = teacher(images)
        options = (
            {"interpolate_pos_encoding": True} if teacher.encoder.config.model_type == "vit" else {}
        )
        tokens = teacher.encoder(images, **options).last_hidden_state
    assert got.shape == (2, 16, 3, 5)
    extra = tokens.shape[1] - 15
    for row in range(3):
        for column in range(5):
            expected = tokens[:, extra + 5 * row + column]
            torch.testing.assert_close(got[:, :, row, column], expected)
    assert (teacher.stride, teacher.out_channels) == (7, 16)
    assert isinstance(teacher, ImageTeacher)


def test_a_changed_patch_changes_its_cell_most(directory):
    teacher = ViTTeacher(directory).eval()
    images = torch.randn(1, 3, 28, 28)
    changed = images.clone()
    changed[:, :, 7:14, 21:28] += 2.0
    with torch.no_grad():
        change = (teacher(changed) - teacher(images)).norm(dim=1)[0]
    assert divmod(int(change.argmax()), 4) == (1, 3)


def test_tokens_before_the_final_norm(directory):
    before, after = ViTTeacher(directory, final_norm=False), ViTTeacher(directory)
    images = torch.randn(1, 3, 14, 14)
    with torch.no_grad():
        raw, normed = before.eval()(images), after.eval()(images)
    rows = raw.permute(0, 2, 3, 1)
    norm = getattr(after.encoder, "layernorm", None) or after.encoder.norm
    torch.testing.assert_close(norm(rows).permute(0, 3, 1, 2), normed)


def test_errors(tmp_path, directory):
    teacher = ViTTeacher(directory)
    with pytest.raises(
        ValueError, match="multiples of the patch size 7, got 20 x 28; resize to 14"
    ):
        teacher(torch.zeros(1, 3, 20, 28))
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        ViTTeacher(tmp_path / "nowhere")
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="holds a 'bert'; known types are dinov2"):
        ViTTeacher(tmp_path / "bert")


def test_incomplete_weights_are_refused(directory):
    from safetensors.torch import load_file, save_file

    path = directory / "model.safetensors"
    state = load_file(path)
    dropped = next(name for name in state if "attention" in name)
    del state[dropped]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lack 1 tensors"):
        ViTTeacher(directory)


def test_torchvision_stays_out(directory):
    ViTTeacher(directory)
    assert "torchvision" not in sys.modules


def test_dinov3_has_patch_16_and_four_registers(tmp_path):
    """The sizes of the published ViT-S/16, thin and one layer deep."""
    thin = {"hidden_size": 24, "num_attention_heads": 6, "intermediate_size": 24}
    config = DINOv3ViTConfig(num_hidden_layers=1, patch_size=16, num_register_tokens=4, **thin)
    DINOv3ViTModel(config).save_pretrained(tmp_path)
    teacher = ViTTeacher(tmp_path).eval()
    assert (teacher.stride, teacher.extra_tokens) == (16, 5)
    with torch.no_grad():
        assert teacher(torch.randn(1, 3, 224, 416)).shape == (1, 24, 14, 26)


def test_a_model_type_of_the_future_names_the_command(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "dinov9_vit"}')
    with pytest.raises(ValueError, match=r"dinov3_vit.*pip install -U transformers"):
        ViTTeacher(tmp_path)
