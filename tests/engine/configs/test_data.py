# SPDX-License-Identifier: Apache-2.0
"""Configs in YAML and JSON run nothing, whatever they hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidistill.engine.configs.read import load_config
from lidistill.io import DataError


def evil(flag: Path) -> str:
    return f"!!python/object/apply:os.system ['touch {flag}']"


@pytest.fixture
def flag(tmp_path) -> Path:
    return tmp_path / "it_ran"


def refused(path: Path, flag: Path, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load_config(path)
    assert str(path.parent) in str(caught.value)
    assert not flag.exists()


def test_yaml_with_an_object(tmp_path, flag):
    path = tmp_path / "cfg.yaml"
    path.write_text(f"model: {evil(flag)}\n")
    refused(path, flag, "does not parse.*python/object/apply")


@pytest.mark.parametrize("suffix", [".json", ".yml"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_base_with_an_object(tmp_path, flag, suffix, depth):
    (tmp_path / "below").mkdir()
    (tmp_path / "below/evil.yaml").write_text(f"x: 1\nmodel: {evil(flag)}\n")
    if depth == 2:
        (tmp_path / "below/middle.yaml").write_text("_base_: ['evil.yaml']\n")
    base = "below/middle.yaml" if depth == 2 else "below/evil.yaml"
    path = tmp_path / f"cfg{suffix}"
    path.write_text(json.dumps({"_base_": base, "y": 2}))
    refused(path, flag, "does not parse")


@pytest.mark.parametrize("base", ["evil.py", "{{ fileDirname }}/evil.py", "{{ $NO:evil.py }}", 3])
def test_a_program_as_a_base(tmp_path, flag, base):
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(flag)!r}).touch()\n")
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps({"_base_": [base]}))
    refused(path, flag, "Expected bases in YAML or JSON")


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"type": "os.system", "command": "true"}},
        {"hooks": [{"type": "subprocess.Popen", "args": ["true"]}]},
        {"model": {"type": "torch.hub.load"}},
        {"model": {"type": "lidistill.cli.main"}},
        {"model": {"type": "torch.nn.Nothing"}},
        {"custom_imports": {"imports": ["antigravity"]}},
    ],
)
def test_types_and_imports(tmp_path, flag, content):
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(content))
    refused(path, flag, "expected the name of a class|would import code")


def test_plain_data_is_read(tmp_path):
    (tmp_path / "base.yaml").write_text("model: {type: torch.nn.Linear, in_features: 3}\nlr: 0.1\n")
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps({"_base_": "base.yaml", "model": {"in_features": 4}}))
    config = load_config(path, ["model.out_features=2"])
    assert config.model == {"type": "torch.nn.Linear", "in_features": 4, "out_features": 2}
    assert config.lr == 0.1


@pytest.mark.parametrize("base", ["null", "1", "[base.yaml, null]", "{a: base.yaml}"])
def test_bases_that_are_no_files(tmp_path, base):
    (tmp_path / "base.yaml").write_text("x: 1\n")
    path = tmp_path / "cfg.yaml"
    path.write_text(f"_base_: {base}\n")
    with pytest.raises(DataError, match=r"(?s)Expected bases in YAML or JSON.*cfg\.yaml"):
        load_config(path)


def test_its_own_base_and_a_missing_one(tmp_path):
    path = tmp_path / "cfg.yaml"
    path.write_text("_base_: cfg.yaml\n")
    with pytest.raises(DataError, match="its own base"):
        load_config(path)
    path.write_text("_base_: other.yaml\n")
    with pytest.raises(DataError, match=r"'other.yaml' is not there"):
        load_config(path)


@pytest.mark.parametrize("suffix", [".py", ".yaml", ".json"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("x = 'ü'".encode("latin-1"), "got byte 0xfc at 5"),
        ("x = 1".encode("utf-16"), "got byte 0xff at 0"),
        (b"x = 1\0", "zero bytes"),
        (b"\xef\xbb\xbfx = 1", "byte order mark"),
    ],
)
def test_text_that_is_not_utf8_is_named(tmp_path, suffix, data, words):
    path = tmp_path / f"cfg{suffix}"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "3", "", "{", "[" * 5000])
def test_what_is_no_config_is_named(tmp_path, text):
    for suffix in (".yaml", ".json"):
        path = tmp_path / f"cfg{suffix}"
        path.write_text(text)
        with pytest.raises(DataError, match="Expected"):
            load_config(path)
