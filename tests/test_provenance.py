# SPDX-License-Identifier: Apache-2.0
"""Commit and machine, as evidence records carry them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lidistill import provenance


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(folder), *words],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_commit_is_the_hash_and_says_when_files_differ(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert provenance.commit(tmp_path) == git(tmp_path, "rev-parse", "--short=10", "HEAD")
    (tmp_path / "file").write_text("two")
    second = provenance.commit(tmp_path)
    assert second.endswith("-dirty")
    (tmp_path / "file").write_text("three")  # else what the second state gave is taken for its own
    third = provenance.commit(tmp_path)
    assert third.endswith("-dirty")
    assert third != second


def test_a_fresh_record_is_no_other_code(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "docs/evidence").mkdir(parents=True)
    (tmp_path / "docs/evidence/slidr.json").write_text("{}")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "docs/evidence/slidr.json").write_text("{ }")
    assert provenance.commit(tmp_path) == git(tmp_path, "rev-parse", "--short=10", "HEAD")


def test_commit_outside_of_a_checkout(tmp_path, monkeypatch):
    assert provenance.commit(tmp_path) == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert provenance.commit(tmp_path) == "unknown"
    monkeypatch.setenv("LIDISTILL_COMMIT", "0123456789")
    assert provenance.commit(tmp_path) == "0123456789"


def test_hardware_in_words():
    words = provenance.hardware().split(", ")
    assert any(word.endswith(" cores") for word in words)
    assert any(word.endswith(" GiB") for word in words)
