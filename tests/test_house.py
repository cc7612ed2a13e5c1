# SPDX-License-Identifier: Apache-2.0
"""The house: imports go downward only, every file has its licence line, tests keep pace."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lidistill"

# From the ground up (DESIGN, section 1): a part imports only from parts before it, or from itself.
FLOORS = (
    ("__init__",),
    ("homes", "interrupts", "io", "jit", "parallel", "progress", "provenance"),
    ("compat",),
    ("registry",),
    ("geometry",),
    ("ops",),
    ("losses",),
    ("world",),
    ("converters",),
    ("datasets",),
    ("models",),
    ("distill",),
    ("methods",),
    ("evaluation",),
    ("export",),
    ("visualization",),
    ("hooks",),
    ("engine",),
    ("evidence",),
    ("bench", "demo", "doctor"),
    ("cli", "completion"),
)
FLOOR = {part: level for level, parts in enumerate(FLOORS) for part in parts}
# Upward on purpose, with the reason.
EXCEPTIONS = {
    ("compat", "ops"): "a bridge hands a foreign library over to our kernels, when it is imported",
    ("compat", "converters"): "info files that mmdet3d's data sets read pass the gate of ours",
}
# One declarative file a table of evidence: a list, not a room to find one's way in.
CROWDED = {"lidistill/evidence/plans"}
# geometry/, ops/ and losses/ run on any machine: no OpenMMLab, no devkits, no transformers.
LIGHT = ("geometry", "ops", "losses")
HEAVY = ("mmengine", "mmcv", "mmdet", "mmdet3d", "nuscenes", "open3d", "transformers", "skimage")
# Third-party modules that cost seconds or fail on slim machines: only inside functions.
LAZY = ("open3d", "mmdet3d", "mmdet", "mmcv", "nuscenes", "transformers")


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def part_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute module name of every import; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def own_part(name: str) -> str | None:
    """The part of lidistill that an imported name belongs to; None for other packages."""
    words = name.split(".")
    if words[0] != "lidistill":
        return None
    known = len(words) > 1 and words[1] in FLOOR
    return words[1] if known else "__init__"


def upward(path: Path) -> list[str]:
    """Imports of one file that go up."""
    here = part_of(path)
    found = []
    for line, name in imports(parse(path)):
        there = own_part(name)
        if there is None or there == here or (here, there) in EXCEPTIONS:
            continue
        if FLOOR[there] > FLOOR[here] or (
            FLOOR[there] == FLOOR[here] and len(FLOORS[FLOOR[here]]) < 2
        ):
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


def test_every_part_has_its_floor():
    parts = {part_of(path) for path in sources(PACKAGE)}
    assert parts <= set(FLOOR), f"say in FLOORS where {parts - set(FLOOR)} stand"


@pytest.mark.parametrize("part", sorted(FLOOR))
def test_imports_go_downward_only(part):
    files = [path for path in sources(PACKAGE) if part_of(path) == part]
    assert [line for path in files for line in upward(path)] == []


def test_the_check_finds_an_upward_import(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_house.PACKAGE", tmp_path)
    monkeypatch.setattr("tests.test_house.ROOT", tmp_path)
    (tmp_path / "geometry").mkdir()
    bad = tmp_path / "geometry" / "bad.py"
    bad.write_text("def f():\n    from lidistill.losses import contrastive\n")
    assert upward(bad) == ["geometry/bad.py:2 imports lidistill.losses.contrastive"]
    bad.write_text("from lidistill.io import DataError\nfrom lidistill import __version__\n")
    assert upward(bad) == []


def module_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE.parent).with_suffix("")
    return ".".join(part for part in inside.parts if part != "__init__")


def graph() -> dict[str, set[str]]:
    """Which file of the package imports which, imports inside functions included."""
    modules = {module_of(path): path for path in sources(PACKAGE)}
    edges = {}
    for module, path in modules.items():
        named = [name for _, name in imports(parse(path))]
        found = {name if name in modules else name.rpartition(".")[0] for name in named}
        edges[module] = (found & set(modules)) - {module}
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Files that import each other in a ring, or none."""
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module not in done:
            for other in sorted(edges[module]):
                if found := walk(other, [*trail, module]):
                    return found
            done.add(module)
        return []

    return next((found for module in sorted(edges) if (found := walk(module, []))), [])


def test_no_two_files_import_each_other():
    assert circle(graph()) == []


def test_the_check_finds_a_ring():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_a_room_of_many_files_has_alcoves():
    """Fifteen files side by side are what a stranger can take in."""
    rooms = {path.parent for path in sources(PACKAGE)}
    files = {room: [p for p in room.glob("*.py") if p.stem != "__init__"] for room in rooms}
    crowded = {str(room.relative_to(ROOT)): len(f) for room, f in files.items() if len(f) > 15}
    assert set(crowded) <= CROWDED, crowded


def test_a_method_does_not_import_another():
    methods = {path.stem for path in (PACKAGE / "methods").glob("*.py")} - {"__init__"}
    for name in methods:
        for _, imported in imports(parse(PACKAGE / "methods" / f"{name}.py")):
            words = imported.split(".")
            assert words[:2] != ["lidistill", "methods"], f"methods/{name}.py imports {imported}"


@pytest.mark.parametrize("part", LIGHT)
def test_light_parts_need_no_heavy_package(part):
    for path in sources(PACKAGE / part):
        for line, name in imports(parse(path)):
            assert name.split(".")[0] not in HEAVY, f"{path}:{line} imports {name}"


def test_heavy_packages_are_imported_where_they_are_used():
    for path in sources(PACKAGE):
        top = ast.Module([n for n in parse(path).body if not isinstance(n, ast.If)], [])
        inner = [n for n in ast.walk(top) if isinstance(n, ast.FunctionDef)]
        inside = {line for node in inner for line, _ in imports(node)}
        for line, name in imports(top):
            if line not in inside:
                assert name.split(".")[0] not in LAZY, f"{path}:{line} imports {name} at its top"


def licensed_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.sh", "Makefile"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]
    return [path for top in ("lidistill", "tests", "tools") for path in sources(ROOT / top)]


def test_every_file_has_its_licence_line():
    line = "# SPDX-License-Identifier: Apache-2.0"
    missing = [
        str(path.relative_to(ROOT))
        for path in licensed_files()
        if line not in path.read_text(encoding="utf-8").splitlines()[:2]
    ]
    assert missing == []


def lines_of_code(paths: list[Path]) -> int:
    return sum(bool(line.strip()) for path in paths for line in path.read_text().splitlines())


def test_tests_are_at_least_half_as_long_as_the_source():
    source, tests = lines_of_code(sources(PACKAGE)), lines_of_code(sources(ROOT / "tests"))
    assert 2 * tests >= source, f"{tests} lines of tests for {source} lines of source"


def test_files_stay_readable():
    """STYLE aims at 300 lines; 400 is where a file is two."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in sources(PACKAGE)
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_no_print_and_no_assert_in_the_package():
    for path in sources(PACKAGE):
        for node in ast.walk(parse(path)):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            assert not (called and node.func.id == "print"), f"{path}:{node.lineno} prints"
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno} asserts"
