# SPDX-License-Identifier: Apache-2.0
"""The doctor: each kind of trouble gives a finding with the command that mends it."""

from __future__ import annotations

import argparse
import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lidistill import doctor
from lidistill.compat import spconv_choice
from lidistill.compat.spconv_choice import WHEELS, Choice
from lidistill.doctor import Finding, check_alternatives, check_package, find_data


@pytest.fixture
def fake_package(monkeypatch):
    """Pretends that only the given packages are installed."""

    def install(versions: dict[str, str]):
        def version(name: str) -> str:
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(doctor.metadata, "version", version)

    return install


def test_package_that_is_there():
    assert check_package("numpy", "numpy").state == "ok"


def test_package_that_is_not_there(fake_package):
    fake_package({})
    found = check_package("nuscenes-devkit", "nuscenes", "1.2.0")
    assert (found.state, found.detail) == ("missing", "not installed")
    assert found.fix == "pip install -c constraints.txt 'nuscenes-devkit==1.2.0'"


def test_from_a_wheel_no_file_of_the_checkout_is_named(fake_package, monkeypatch):
    monkeypatch.setattr(doctor.provenance, "INSTALLED", True)
    fake_package({})
    assert check_package("numba", "numba").fix == "pip install numba"
    assert doctor._install_with("cpu") == "pip install 'lidistill[cpu]'"


def test_package_of_another_version(fake_package):
    fake_package({"numpy": "2.1.0"})
    found = check_package("numpy", "numpy", "1.")
    assert (found.state, found.detail) == ("missing", "2.1.0, expected 1.")
    assert found.fix == "pip install -c constraints.txt 'numpy==1.*'"


@pytest.mark.parametrize(
    ("python", "way"), [((3, 12), "-c constraints.txt"), ((3, 13), "--no-deps")]
)
def test_devkit_on_a_python_without_numpy_1(fake_package, monkeypatch, python, way):
    fake_package({})
    monkeypatch.setattr(doctor.sys, "version_info", python)
    found = check_package("nuscenes-devkit", "nuscenes", "1.2.0")
    assert found.fix == f"pip install {way} 'nuscenes-devkit==1.2.0'"


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("libusb-1.0.so.0: cannot open shared object file", "libusb-1.0-0"),
        ("libGL.so.1: cannot open shared object file", "opencv-python-headless"),
        ("something else", "pip install -c constraints.txt open3d"),
    ],
)
def test_package_that_does_not_import(fake_package, monkeypatch, message, fix):
    fake_package({"open3d": "0.20.0"})

    def broken(name):
        raise OSError(message)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    found = check_package("open3d", "open3d")
    assert found.state == "missing"
    assert message in found.detail
    assert fix in found.fix


def test_slow_packages_are_looked_for_and_not_imported(fake_package, monkeypatch):
    fake_package({"transformers": "5.0", "open3d": "0.20.0", "gone": "1.0"})
    monkeypatch.setattr(doctor.importlib, "import_module", pytest.fail)
    found = check_package("transformers", "transformers", imports=False)
    assert (found.state, found.detail) == ("ok", "5.0 (not imported)")
    found = check_package("gone", "no_such_module", imports=False)
    assert (found.state, "No module named" in found.detail) == ("missing", True)
    monkeypatch.setitem(doctor.SYSTEM_LIBRARIES, "json", "libusb-1.0.so.not-there")
    found = check_package("open3d", "json", imports=False)
    assert (found.state, found.fix) == ("missing", "sudo apt-get install libusb-1.0-0")


def test_one_of_several(fake_package):
    fake_package({"mmcv-lite": "2.1.0"})
    assert check_alternatives(doctor.MMCV, "json", "pip install mmcv-lite").name == "mmcv-lite"


def test_none_of_several(fake_package):
    fake_package({})
    found = check_alternatives(WHEELS, "spconv", "pip install -e .[cpu]")
    assert (found.state, found.fix) == ("missing", "pip install -e .[cpu]")


def test_two_that_overwrite_each_other(fake_package):
    fake_package({"spconv": "2.3.8", "spconv-cu126": "2.3.8"})
    found = check_alternatives(WHEELS, "spconv", "pip install -e .[cu126]")
    assert found.state == "missing"
    assert found.fix == "pip uninstall -y spconv spconv-cu126 && pip install -e .[cu126]"


def test_no_spconv_is_fine(fake_package):
    fake_package({})
    found = doctor._spconv()
    assert (found.state, found.fix) == ("ok", "")
    assert "another answers in its place" in found.detail


@pytest.mark.parametrize("forced", [False, True])
def test_each_device_has_its_sparse_convolutions_and_the_reason(monkeypatch, forced):
    fix = "unset LIDISTILL_SPARSE" if forced else "pip install spconv-triton"
    choices = {"cpu": Choice("own", "right"), "cuda": Choice("", "no wheel", fix)}
    monkeypatch.setattr(spconv_choice, "here", lambda: choices)
    monkeypatch.setattr(spconv_choice, "gpu", lambda: ("cuda", (12, 0)))
    cpu, cuda, torchsparse = doctor.find_sparse()
    assert "`import torchsparse`" in torchsparse.detail
    assert (cpu.name, cpu.state) == ("cpu", "ok")
    assert cpu.detail.startswith("lidistill's kernels: right; `import spconv` finds ")
    assert (cuda.state, cuda.detail) == ("missing", "nothing: no wheel")
    assert cuda.fix == (fix if forced else "pip install -e .[triton]")


def make_nuscenes(root: Path) -> None:
    (root / "v1.0-mini").mkdir(parents=True)
    (root / "v1.0-mini" / "sample_data.json").write_text("[]")
    (root / "samples").mkdir()


def make_kitti(root: Path) -> None:
    (root / "training" / "velodyne").mkdir(parents=True)
    (root / "ImageSets").mkdir()


def test_data_is_told_by_its_content(tmp_path):
    make_nuscenes(tmp_path / "any_name")
    make_kitti(tmp_path / "world" / "small" / "kitti")
    (tmp_path / "world" / "small" / "kitti" / "SYNTHETIC").touch()
    nuscenes, kitti = find_data(tmp_path)
    assert (nuscenes.name, nuscenes.state) == ("nuScenes", "note")
    assert "v1.0-mini" in nuscenes.detail
    assert f"lidistill create_data nuscenes --root {tmp_path / 'any_name'}" in nuscenes.fix
    assert kitti.name == "KITTI"
    assert kitti.detail.endswith("(synthetic)")


def test_data_with_info_files_needs_nothing(tmp_path):
    make_nuscenes(tmp_path / "nuscenes")
    (tmp_path / "nuscenes" / "lidistill_infos_train.pkl").touch()
    found = find_data(tmp_path)[0]
    assert (found.state, found.fix) == ("ok", "")
    assert "1 info files" in found.detail


@pytest.mark.parametrize("exists", [True, False])
def test_no_data_points_to_the_embedded_world(tmp_path, exists):
    folder = tmp_path / "data"
    if exists:
        folder.mkdir()
    found = find_data(folder)
    assert [finding.state for finding in found] == ["note", "note"]
    assert all("lidistill world --layout both" in finding.fix for finding in found)


def test_a_folder_that_may_not_be_read_is_passed_over(tmp_path, monkeypatch):
    """A disk's lost+found is root's alone: the whole doctor ended there."""
    make_kitti(tmp_path / "a")
    make_kitti(tmp_path / "lost+found")
    monkeypatch.setattr(doctor.os, "access", lambda path, _mode: path.name != "lost+found")
    found = [finding for finding in find_data(tmp_path) if finding.name == "KITTI"]
    assert [str(tmp_path / "a") in finding.detail for finding in found] == [True]


def test_folders_are_not_searched_for_ever(tmp_path):
    make_kitti(tmp_path / "a" / "b" / "c" / "d")
    assert all(finding.state == "note" for finding in find_data(tmp_path))


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return parser.parse_args(words)


def test_this_environment_is_healthy(tmp_path, capsys):
    code = doctor.run(arguments("--json", "--data", str(tmp_path)))
    findings = json.loads(capsys.readouterr().out)
    missing = [finding for finding in findings if finding["state"] == "missing"]
    assert (code, missing) == (0, [])
    assert {finding["part"] for finding in findings} == {
        "packages",
        "device",
        "sparse convolutions",
        "bridges",
        "data",
        "ops",
    }
    names = {finding["name"]: finding for finding in findings}
    assert "spconv-cpu" in names
    assert "`import torchsparse`" in names["torchsparse"]["detail"]


def test_ops_are_counted_and_listed_one_by_one():
    (total,) = doctor.find_ops()
    every = {finding.name: finding for finding in doctor.find_ops(one_by_one=True)}
    assert total.state == "ok"
    assert f"{len(every)} compiled ops" in total.name
    assert every["roi_align_forward"].state == "ok"
    assert all(finding.part == "ops" and not finding.fix for finding in every.values())
    ours = [finding for finding in every.values() if finding.detail.startswith("lidistill: ")]
    if ours:  # over compiled mmcv there are none
        assert every["roi_align_forward"].detail.endswith("mmcv.image_functions")
        assert every["tin_shift_forward"].state == "note"
        assert f"{len(ours)} by lidistill" in total.detail


def test_without_mmcv_its_ops_are_missing(monkeypatch):
    from lidistill.ops.mmcv import ext

    monkeypatch.delitem(sys.modules, ext.MODULE, raising=False)
    monkeypatch.setattr(ext.importlib.util, "find_spec", lambda name: None)
    (found,) = doctor.find_ops()
    assert (found.state, found.fix) == ("missing", "pip install mmcv-lite==2.1.0")


def test_what_nothing_needs_is_only_noted(monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED", {})
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such-package": ("no_such_package", None)})
    found = {finding.name: finding for finding in doctor._packages(True)}["no-such-package"]
    assert (found.state, found.detail) == ("note", "not installed")
    assert "no-such-package" in found.fix


def test_missing_things_are_shown_with_their_fix_and_fail(monkeypatch, capsys):
    findings = [
        Finding("packages", "a", "ok", "1.0"),
        Finding("packages", "b", "missing", "not [there]", "pip install -e .[cpu]"),
        Finding("data", "c", "note", "none", "make it"),
        Finding("data", "d", "note", "none", "make it"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda data, imports: findings)
    assert doctor.run(arguments()) == 1
    printed = capsys.readouterr().out
    assert "not [there]" in printed
    assert "b: pip install -e .[cpu]" in printed
    assert printed.count("make it") == 1
    assert printed.index("b: pip") < printed.index("c: make it")


@pytest.mark.parametrize("installed", [True, False])
def test_the_teacher_of_a_package_is_named(fake_package, installed):
    fake_package({doctor.TEACHER: "0.1.0"} if installed else {})
    found = doctor._teacher_weights()
    assert found.state == ("ok" if installed else "note")
    assert ("ImageNet's labels" if installed else "extra [teacher]") in found.detail
    assert bool(found.fix) != installed


def test_a_user_without_a_home_is_told(monkeypatch):
    monkeypatch.setenv("LIDISTILL_HOMELESS", "1")
    assert [f.state for f in doctor._device() if f.name == "home"] == ["note"]
    monkeypatch.delenv("LIDISTILL_HOMELESS")
    assert not [f for f in doctor._device() if f.name == "home"]
