"""The rooms import one way only, and nothing computes outside them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "editverdict"
ROOMS = (
    "schema",
    "store",
    "numerics",
    "models",
    "data",
    "capture",
    "generation",
    "editors",
    "geometry",
    "evaluation",
    "inference",
    "ledger",
    "pipeline",
    "reporting",
)
ONLY = {
    "geometry": {"numerics"},
    "inference": {"numerics"},
    "ledger": {"schema", "numerics", "inference"},
    "reporting": {"inference", "ledger"},
}
OUTSIDE = {"__init__.py", "bundle.py", "cli"}
COMPUTING = {"torch", "numpy", "scipy", "transformers", "sentence_transformers", "faiss", "matplotlib", "editverdict"}


def names(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Every imported module with its line, relative imports resolved against ``package``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, node.lineno
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value, node.lineno


def imported(file: Path) -> Iterator[tuple[str, int]]:
    package = ".".join(file.parent.relative_to(ROOT / "src").parts)
    yield from names(ast.parse(file.read_text(encoding="utf-8")), package)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "editverdict" else None


def may_import(room: str, other: str) -> bool:
    """Whether ``room`` may import ``other``; what is outside the rooms is nobody's to import."""
    if other not in ROOMS:
        return other == "__version__"
    if room in ONLY:
        return other == room or other in ONLY[room]
    return ROOMS.index(other) <= ROOMS.index(room)


def violations(room: str, file: Path) -> list[str]:
    found = set()
    for module, line in imported(file):
        other = room_of(module)
        if other is not None and not may_import(room, other):
            found.add(f"{file.relative_to(ROOT)}:{line}: {room} imports {other}")
    return sorted(found)


def test_every_folder_is_a_room() -> None:
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name not in ("__pycache__", "_bundle")}
    assert folders - OUTSIDE == set(ROOMS)
    assert {path.name for path in SOURCE.glob("*.py")} <= OUTSIDE


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    files = sorted((SOURCE / room).rglob("*.py"))
    assert files
    assert [violation for file in files for violation in violations(room, file)] == []


def test_the_library_is_free_of_pytest() -> None:
    files = [file for file in SOURCE.rglob("*.py") if "_bundle" not in file.parts]
    banned = {"pytest", "_pytest", "xdist", "plugins", "fixtures", "suites", "conftest"}
    found = [
        f"{file.relative_to(ROOT)}:{line}: {module}"
        for file in files
        for module, line in imported(file)
        if module.split(".")[0] in banned
    ]
    assert len(files) > 50 and found == []


def at_module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run on import: bodies of functions and of ``if TYPE_CHECKING`` are left out."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        yield statement


@pytest.mark.parametrize("folder", ["plugins", "fixtures"])
def test_plugins_and_fixtures_compute_nothing(folder: str) -> None:
    """On import they load none of the libraries that compute, nor the library itself: collection stays cheap."""
    files = sorted((ROOT / folder).glob("*.py"))
    found = [
        f"{file.relative_to(ROOT)}:{line}: {module}"
        for file in files
        for statement in at_module_level(ast.parse(file.read_text(encoding="utf-8")))
        for module, line in names(statement, "")
        if module.split(".")[0] in COMPUTING
    ]
    assert files and found == []


def test_plugins_and_fixtures_load_no_torch() -> None:
    """The same, seen from outside: importing all of them leaves torch unloaded."""
    modules = sorted(f"{f.parent.name}.{f.stem}" for n in ("plugins", "fixtures") for f in (ROOT / n).glob("*.py"))
    code = f"import sys, importlib\nfor name in {modules}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys; sys.path.insert(0, 'src'); import editverdict.cli; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("room", "line", "wrong"),
    [
        ("geometry", "from editverdict.numerics import spectrum", False),
        ("geometry", "from editverdict.models import Sites", True),
        ("geometry", "from editverdict import models", True),
        ("reporting", "import editverdict.pipeline.runs", True),
        ("models", "from ..editors import base", True),
        ("editors", "from ..models import sites", False),
        ("editors", "def f():\n    from editverdict.pipeline import trial", True),
        ("data", "import importlib\nimportlib.import_module('editverdict.editors')", True),
        ("pipeline", "from editverdict import __version__", False),
        ("pipeline", "from editverdict import bundle", True),
        ("pipeline", "from editverdict.cli.console import say", True),
        ("store", "import numpy", False),
    ],
)
def test_this_test_sees(room: str, line: str, wrong: bool) -> None:
    """Planted imports: each kind of violation is found, and nothing else."""
    rooms = {room_of(module) for module, _ in names(ast.parse(line), f"editverdict.{room}")} - {None}
    assert any(not may_import(room, str(other)) for other in rooms) == wrong
