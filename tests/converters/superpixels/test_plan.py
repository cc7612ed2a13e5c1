# SPDX-License-Identifier: Apache-2.0
"""Superpixels on several machines: estimates, shares, which of them are missing."""

from __future__ import annotations

import argparse
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from lidistill.converters.superpixels import cli as superpixels_cli
from lidistill.converters.superpixels import plan as superpixel_plan
from lidistill.converters.superpixels.make import make_regions
from lidistill.converters.superpixels.plan import Share, plan_regions, shares_of
from lidistill.converters.superpixels.slic import SlicParameters
from lidistill.converters.superpixels.source import SlicSource
from lidistill.converters.superpixels.store import SuperpixelStore, find_jobs
from lidistill.io import DataError
from tests.datasets.mini import make_mini

SOURCE = SlicSource(SlicParameters(segments=12))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    make_mini(folder, superpixels=False)
    return folder


def run_verb(root: Path, out: Path, *words: str) -> None:
    parser = argparse.ArgumentParser()
    superpixels_cli.add_arguments(parser)
    paths = [str(root / "infos.pkl"), "--data-root", str(root), "--out", str(out)]
    superpixels_cli.run(parser.parse_args([*paths, "--segments", "12", "--jobs", "1", *words]))


def test_shares_are_every_nth_image(root, tmp_path):
    jobs = find_jobs([root / "infos.pkl"], root)
    shares = shares_of(jobs, tmp_path, 4)
    assert [(share.part, share.images, share.missing) for share in shares] == [
        (1, 2, 2), (2, 2, 2), (3, 1, 1), (4, 1, 1),
    ]  # fmt: skip
    (tmp_path / jobs[5].name).touch()
    assert [share.missing for share in shares_of(jobs, tmp_path, 4)] == [2, 1, 1, 1]


def test_a_few_images_are_measured_and_nothing_is_written(root, tmp_path):
    plan = plan_regions(SOURCE, root / "infos.pkl", root, tmp_path / "no", parts=2)
    assert (plan.images, plan.done, plan.measured) == (6, 0, 3)
    assert plan.seconds_each > 0
    assert plan.free_bytes > 0
    assert plan.hours(2) == pytest.approx(6 * plan.seconds_each / 2 / 3600)
    assert plan.hours(1, images=3) == pytest.approx(plan.hours(2))
    assert plan.gigabytes() == pytest.approx(6 * plan.bytes_each / 1e9)
    assert not (tmp_path / "no").exists()


def test_the_store_says_which_shares_are_missing_until_all_are_there(root, tmp_path, capsys):
    out = tmp_path / "store"
    run_verb(root, out, "--shard", "3/4")
    said = " ".join(capsys.readouterr().out.split())
    assert "missing: 1/4 (2 of 2 images), 2/4 (2 of 2 images), 4/4 (1 of 1 images)" in said
    run_verb(root, out, "--shard", "1/4", "--dry-run")
    said = " ".join(capsys.readouterr().out.split())
    assert "6 images, 1 of them done" in said
    assert "share 1/4 (2 of 2 images): about 0.00 h with 1 processes here" in said
    assert "with 4 processes" in said
    assert "missing: 1/4" in said
    with pytest.raises(DataError, match=r"(?s)unfinished.*--dry-run --shard 1/N"):
        SuperpixelStore(out)
    for part in (4, 2, 1):
        run_verb(root, out, "--shard", f"{part}/4")
    assert "the store is complete" in capsys.readouterr().out
    assert len(SuperpixelStore(out)) == 6


def test_shares_made_in_folders_of_their_own_are_merged_by_copying(root, tmp_path):
    """Machines without a common disk: copy, then run the command once without --shard."""
    merged, whole = tmp_path / "merged", tmp_path / "whole"
    for part in (1, 2):
        make_regions(SOURCE, root / "infos.pkl", root, tmp_path / str(part), shard=(part, 2))
        shutil.copytree(tmp_path / str(part), merged, dirs_exist_ok=True)
    with pytest.raises(DataError, match="unfinished"):
        SuperpixelStore(merged)
    assert make_regions(SOURCE, root / "infos.pkl", root, merged) == 0
    assert len(SuperpixelStore(merged)) == 6
    make_regions(SOURCE, root / "infos.pkl", root, whole)
    for path in whole.iterdir():
        assert (merged / path.name).read_bytes() == path.read_bytes()


def test_a_full_disk_is_seen_before_the_work(root, tmp_path, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")(100, 90, 10)
    monkeypatch.setattr(superpixel_plan.shutil, "disk_usage", lambda path: usage)
    run_verb(root, tmp_path / "s", "--dry-run")
    assert "does not fit" in capsys.readouterr().out


def test_share_in_words():
    assert str(Share(5, 8, 25_612, 1200)) == "5/8 (1,200 of 25,612 images)"
