# SPDX-License-Identifier: Apache-2.0
"""The verb: build, dry run, errors; what is there is not made again."""

from lidistill import cli


def test_from_a_world(tiny_world, tmp_path, capsys):
    words = ["object_bank", "nuscenes", "--root", str(tiny_world / "nuscenes"), "--jobs", "1"]
    words += ["--scenes", "scene-0061", "--out", str(tmp_path / "bank")]
    assert cli.main([*words, "--dry-run"]) == 0
    assert "1 scenes, 0 of them done" in capsys.readouterr().out
    assert not (tmp_path / "bank").exists()
    assert cli.main(words) == 0
    assert "objects" in capsys.readouterr().out
    stamp = (tmp_path / "bank" / "scene-0061.npz").stat().st_mtime_ns
    assert cli.main(words) == 0
    assert (tmp_path / "bank" / "scene-0061.npz").stat().st_mtime_ns == stamp
    assert cli.main([*words, "--mirror"]) == 1
    assert "another --out" in capsys.readouterr().err
    assert cli.main(["object_bank", "quality", "--bank", str(tmp_path / "bank")]) == 0
    assert "class" in capsys.readouterr().out


def test_errors_say_what_to_do(tmp_path, capsys):
    for words, said in (
        (["nuscenes"], "--version"),
        (["kitti_tracking"], "label_02"),
        (["kitti_raw"], "--scans"),
        (["kitti_scans", "--name", "a", "--scans", "a{frame}.bin"], "--tracklets"),
        (["semantickitti"], "sequences"),
        (["arrays"], "docs/object_bank.md"),
    ):
        code = cli.main(
            ["object_bank", *words, "--root", str(tmp_path), "--out", str(tmp_path / "b")]
        )
        assert code == 1
        assert said in capsys.readouterr().err.replace("\n", " "), words
